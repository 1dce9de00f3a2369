#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| plane_fuzz::head(bytes));
