//! No lane runs when the memory under it goes: at the end of the JavaScript environment, or of the process.
//!
//! `process.exit()` runs no environment's hooks but the C library's (`atexit`), and after those ONNX Runtime's own
//! state is destroyed. A lane that runs then crashes the process.

use std::sync::{Arc, Mutex, Once, PoisonError, Weak};

use napi::Env;

use crate::lanes::{Lanes, Node};

static ALL: Mutex<Vec<Weak<Lanes>>> = Mutex::new(Vec::new());
static HOOK: Once = Once::new();

/// Ends these lanes before their environment or the process ends, whatever ends it.
pub fn end_with_process(env: &Env, lanes: &Arc<Lanes>) -> napi::Result<()> {
    // After ONNX Runtime was loaded, if it is already: what is registered last runs first.
    HOOK.call_once(|| {
        // SAFETY: registers a function that lives as long as this library, which is never unloaded.
        unsafe { libc::atexit(end_all) };
    });
    let mut all = ALL.lock().unwrap_or_else(PoisonError::into_inner);
    all.retain(|lanes| lanes.strong_count() > 0);
    all.push(Arc::downgrade(lanes));
    drop(all);
    env.add_env_cleanup_hook(Arc::downgrade(lanes), |lanes| {
        if let Some(lanes) = lanes.upgrade() {
            lanes.end_now(Node::Calls);
        }
    })?;
    Ok(())
}

extern "C" fn end_all() {
    let all = std::mem::take(&mut *ALL.lock().unwrap_or_else(PoisonError::into_inner));
    for lanes in all.iter().filter_map(Weak::upgrade) {
        lanes.end_now(Node::IsGone);
    }
}
