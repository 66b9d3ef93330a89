//! What compiles, what does not, and what the compiler then says.
//!
//! Each file of `ui/pass` has to compile and run; each of `ui/fail` has to fail with the text beside it. After a change of the texts that is
//! meant, `TRYBUILD=overwrite cargo test --test compile` writes them anew: read them before you keep them.

#[test]
fn promises_of_types_and_attributes_are_kept_by_the_compiler() {
    let cases = trybuild::TestCases::new();
    cases.pass("ui/pass/*.rs");
    cases.compile_fail("ui/fail/*.rs");
}
