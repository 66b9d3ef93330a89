//! The table of the AWS host in DynamoDB Local, for people who have none yet. Must never: change a table that is there.

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::DisplayErrorContext;

/// Why there is no table.
#[derive(Debug, thiserror::Error)]
#[error("the table `{table}` cannot be created at {endpoint}: {why}. Start DynamoDB Local there, or say where it is with --dynamodb")]
pub struct NoTable {
    table: String,
    endpoint: String,
    why: String,
}

/// Creates the table, as the store expects it. One of that name that is there already is left as it is.
///
/// # Errors
/// [`NoTable`] says what DynamoDB Local said.
pub async fn create(endpoint: &str, table: &str) -> Result<(), NoTable> {
    let failed = |why: String| NoTable { table: table.to_owned(), endpoint: endpoint.to_owned(), why };
    let client = Client::new(&durable_aws_dev::client_config(endpoint).map_err(|e| failed(e.to_string()))?);
    let request = durable_aws::store::create_table(table).map_err(|e| failed(e.to_string()))?;
    match request.send_with(&client).await {
        Err(e) if e.as_service_error().is_some_and(|e| e.is_resource_in_use_exception()) => return Ok(()),
        created => created.map_err(|e| failed(DisplayErrorContext(&e).to_string()))?,
    };
    let request = durable_aws::store::time_to_live(table).map_err(|e| failed(e.to_string()))?;
    request.send_with(&client).await.map_err(|e| failed(DisplayErrorContext(&e).to_string()))?;
    Ok(())
}
