// Starts Azurite's three services on free ports of the loopback interface, says which those are, and ends with whoever started it: then its
// standard input closes. Azurite itself does not tell which ports it was given.
const net = require("net");

process.stdin.resume();
process.stdin.on("end", () => process.exit(0));

// The services start one after the other, in this order.
const services = ["blob", "queue", "table"];
const listen = net.Server.prototype.listen;
net.Server.prototype.listen = function (...how) {
  const service = services.shift();
  this.once("listening", () => console.log(`${service} listens on ${this.address().port}`));
  return listen.apply(this, how);
};

const places = services.flatMap((service) => [`--${service}Host`, "127.0.0.1", `--${service}Port`, "0"]);
process.argv = [process.argv[0], "azurite", ...places, "--inMemoryPersistence", "--disableTelemetry", "--silent"];
require("azurite/dist/src/azurite.js");
