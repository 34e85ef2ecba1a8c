//! No lane runs when what it uses goes: memory of JavaScript at the end of its environment, and ONNX Runtime's own
//! state when the process exits. A lane that runs then crashes the process.
//!
//! The end of an environment calls the hook of `end_before`. `process.exit()` calls no such hook, so the program has
//! `end_all` called by Node's `exit` event (src/native/addon.ts). The C library's `atexit` would be too late:
//! state that ONNX Runtime made after the registration is gone by then.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use napi::Env;

use crate::lanes::Lanes;

static ALL: Mutex<Vec<Weak<Lanes>>> = Mutex::new(Vec::new());

/// Ends these lanes before their environment ends, or when `end_all` is called.
pub fn end_before(env: &Env, lanes: &Arc<Lanes>) -> napi::Result<()> {
    let mut all = ALL.lock().unwrap_or_else(PoisonError::into_inner);
    all.retain(|lanes| lanes.strong_count() > 0);
    all.push(Arc::downgrade(lanes));
    drop(all);
    env.add_env_cleanup_hook(Arc::downgrade(lanes), |lanes| {
        if let Some(lanes) = lanes.upgrade() {
            lanes.end_now();
        }
    })?;
    Ok(())
}

/// Ends all lanes of the process.
pub fn end_all() {
    let all = std::mem::take(&mut *ALL.lock().unwrap_or_else(PoisonError::into_inner));
    for lanes in all.iter().filter_map(Weak::upgrade) {
        lanes.end_now();
    }
}
