import java.lang.reflect.Field;
import org.eclipse.jetty.server.Connector;
import org.eclipse.jetty.server.Server;
import org.eclipse.jetty.server.ServerConnector;
import software.amazon.dynamodb.services.local.main.ServerRunner;
import software.amazon.dynamodb.services.local.server.DynamoDBProxyServer;

/**
 * DynamoDB Local, but on the loopback interface only, on a port that the system chooses, and not longer than whoever started it: it ends when
 * its standard input does.
 */
public class LoopbackDynamo {
    public static void main(String[] arguments) throws Exception {
        DynamoDBProxyServer server = ServerRunner.createServerFromCommandLineArgs(arguments);
        Field field = DynamoDBProxyServer.class.getDeclaredField("server");
        field.setAccessible(true);
        Server jetty = (Server) field.get(server);
        for (Connector connector : jetty.getConnectors()) {
            ((ServerConnector) connector).setHost("127.0.0.1");
            ((ServerConnector) connector).setPort(0);
        }
        server.start();
        System.out.println("listening on " + ((ServerConnector) jetty.getConnectors()[0]).getLocalPort());
        while (System.in.read() >= 0) {
            // Nobody sends anything; the end is what is waited for.
        }
        Runtime.getRuntime().halt(0);
    }
}
