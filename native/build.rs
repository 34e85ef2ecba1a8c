//! What Node.js add-ons need of the linker.

fn main() {
    napi_build::setup();
}
