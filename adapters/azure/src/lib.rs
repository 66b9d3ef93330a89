//! The host on Azure Functions: state in Table Storage, wake-ups in Queue Storage.
//!
//! | module | what |
//! | --- | --- |
//! | [`storage`] | the account, who may use it, and one signed request to it |
//! | [`store`] | the Store port, in one table |
//! | [`table`] | rows of tables, and transactions of rows |
//!
//! Must never: know another cloud, or let anything repeat a request behind the back of the module that sent it.

pub mod storage;
pub mod store;
pub mod table;
