//! The table, for whoever creates it: a deployment's template says the same.

use aws_sdk_dynamodb::error::BuildError;
use aws_sdk_dynamodb::operation::create_table::builders::CreateTableInputBuilder;
use aws_sdk_dynamodb::operation::update_time_to_live::builders::UpdateTimeToLiveInputBuilder;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, GlobalSecondaryIndex, KeySchemaElement, KeyType, Projection, ProjectionType, ScalarAttributeType, StreamSpecification,
    StreamViewType, TimeToLiveSpecification,
};

/// The environment variable that names the table.
pub const TABLE_VARIABLE: &str = "DURABLE_TABLE";

/// The index of all instances, in order of creation.
pub const LIST_INDEX: &str = "list";

/// The attribute by which rows expire.
pub const EXPIRES: &str = "x";

/// A request that creates the table: paid for by request, with a stream of new images and the index of all instances.
///
/// # Errors
/// Never in practice: the SDK asks for it.
pub fn create_table(name: &str) -> Result<CreateTableInputBuilder, BuildError> {
    let mut request = CreateTableInputBuilder::default().table_name(name).billing_mode(BillingMode::PayPerRequest);
    for attribute in ["pk", "sk", "l", "c"] {
        request = request.attribute_definitions(AttributeDefinition::builder().attribute_name(attribute).attribute_type(ScalarAttributeType::S).build()?);
    }
    let key = |name: &str, kind| KeySchemaElement::builder().attribute_name(name).key_type(kind).build();
    let index = GlobalSecondaryIndex::builder()
        .index_name(LIST_INDEX)
        .key_schema(key("l", KeyType::Hash)?)
        .key_schema(key("c", KeyType::Range)?)
        .projection(Projection::builder().projection_type(ProjectionType::KeysOnly).build())
        .build()?;
    let stream = StreamSpecification::builder().stream_enabled(true).stream_view_type(StreamViewType::NewImage).build()?;
    Ok(request.key_schema(key("pk", KeyType::Hash)?).key_schema(key("sk", KeyType::Range)?).global_secondary_indexes(index).stream_specification(stream))
}

/// A request that lets rows with [`EXPIRES`] expire, once the table is there.
///
/// # Errors
/// Never in practice: the SDK asks for it.
pub fn time_to_live(name: &str) -> Result<UpdateTimeToLiveInputBuilder, BuildError> {
    let by = TimeToLiveSpecification::builder().enabled(true).attribute_name(EXPIRES).build()?;
    Ok(UpdateTimeToLiveInputBuilder::default().table_name(name).time_to_live_specification(by))
}
