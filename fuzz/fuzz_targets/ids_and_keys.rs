#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| durable_tests::hostile::ids_and_keys(bytes));
