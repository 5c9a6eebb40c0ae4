//! The calls into MuJoCo that its safe bindings do not offer, or only with an allocation.
#![allow(unsafe_code)]

use std::sync::Once;

use mujoco_rs::{mujoco_c, prelude};

use super::Data;
use crate::error::SimError;

/// Checks the library's version and sends its messages to the `log` crate instead of a file in
/// the working directory. Every model is loaded through here, so this comes first.
pub(super) fn set_up() -> Result<(), SimError> {
    // SAFETY: a function without arguments that returns a constant.
    let found = unsafe { mujoco_c::mj_version() };
    let needed = mujoco_c::mjVERSION_HEADER as i32;
    if found != needed {
        return Err(SimError::MujocoVersion { found, needed });
    }
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: this crate loads no model before this call has returned, so none of its threads
        // uses MuJoCo while the handler is written.
        unsafe { prelude::install_logging_hook() };
    });
    Ok(())
}

/// Writes the translational Jacobian of a site, `[3, nv]`.
///
/// # Panics
/// If `jacobian` is not that long or there is no such site.
pub(super) fn site_jacobian(data: &Data, site: usize, jacobian: &mut [f64]) {
    assert_eq!(jacobian.len(), 3 * data.qvel().len());
    assert!(site < data.site_xpos().len());
    // SAFETY: model and data are valid and belong together; `jacobian` has the 3·nv numbers that
    // are written, a null pointer asks for no rotational part, and the site exists.
    unsafe {
        mujoco_c::mj_jacSite(
            data.model().ffi(),
            data.ffi(),
            jacobian.as_mut_ptr(),
            std::ptr::null_mut(),
            site as i32,
        );
    }
}

/// Halves the distance of every contact that one of `geoms` takes part in; whether there was one.
pub(super) fn halve_contact_distance(data: &mut Data, geoms: &[usize; 2]) -> bool {
    let mut any = false;
    // SAFETY: only the distances change, which index nothing.
    for contact in unsafe { data.contact_mut() } {
        if contact.geom.iter().any(|&g| geoms.contains(&(g as usize))) {
            contact.dist *= 0.5;
            any = true;
        }
    }
    any
}

/// Recomputes the reference acceleration of the equality rows without the term J̇·q̇.
pub(super) fn drop_weld_acceleration_term(data: &mut Data) {
    let rows = data.ffi().ne as usize;
    for i in 0..rows {
        let violation = data.efc_pos()[i] - data.efc_margin()[i];
        // SAFETY: the first half of a physics step, just taken, has filled these arrays for all
        // rows, and the equality rows come first.
        unsafe {
            let [stiffness, damping, impedance, _] = data.efc_kbip()[i];
            let velocity = data.efc_vel()[i];
            data.efc_aref_mut()[i] = -damping * velocity - stiffness * impedance * violation;
        }
    }
}
