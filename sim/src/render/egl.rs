//! An OpenGL context without a window, through EGL.
//!
//! libEGL is looked for when the first picture is drawn, not when the program starts: a machine
//! without it simulates all the same.
#![allow(unsafe_code)]

use std::{
    ffi::{CStr, c_char, c_void},
    marker::PhantomData,
    ptr::{null, null_mut},
};

use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW, Symbol};
use mujoco_rs::prelude::{MjModel, MjrContext};

use super::RenderError;

type Handle = *mut c_void;
type Int = i32;
type Bool = u32;

const PLATFORM_DEVICE_EXT: u32 = 0x313F;
const OPENGL_API: u32 = 0x30A2;
const NONE: Int = 0x3038;
/// Offscreen surfaces, OpenGL, 8-bit colours, 24-bit depth, 8-bit stencil.
const CONFIG: [Int; 17] = [
    0x3033, 0x0001, // SURFACE_TYPE: PBUFFER
    0x3040, 0x0008, // RENDERABLE_TYPE: OPENGL
    0x3024, 8, // RED_SIZE
    0x3023, 8, // GREEN_SIZE
    0x3022, 8, // BLUE_SIZE
    0x3021, 8, // ALPHA_SIZE
    0x3025, 24, // DEPTH_SIZE
    0x3026, 8, // STENCIL_SIZE
    NONE,
];
/// MuJoCo draws into a buffer of its own; the surface only has to exist.
const SURFACE: [Int; 5] = [0x3057, 16, 0x3056, 16, NONE]; // WIDTH, HEIGHT

/// An OpenGL context that is current on the thread that made it.
pub(super) struct OffscreenGl {
    egl: Egl,
    display: Handle,
    surface: Handle,
    context: Handle,
    /// Contexts are current on one thread.
    _not_send: PhantomData<*const ()>,
}

impl OffscreenGl {
    /// Opens a context on the first device that gives one, a graphics card or Mesa's software.
    ///
    /// # Errors
    /// [`RenderError::NoEgl`], [`RenderError::Egl`].
    pub(super) fn open() -> Result<Self, RenderError> {
        let mut refused = Vec::new();
        for display in Egl::load()?.displays() {
            // Each attempt owns its functions; the library itself is loaded once.
            match Self::on_display(Egl::load()?, display) {
                Ok(context) => return Ok(context),
                Err(reason) => refused.push(reason),
            }
        }
        let reason = if refused.is_empty() { "no device".to_string() } else { refused.join("; ") };
        Err(RenderError::Egl { reason })
    }

    fn on_display(egl: Egl, display: Handle) -> Result<Self, String> {
        let failed = |what: &str| format!("{what} failed with EGL error {:#06x}", egl.error());
        // SAFETY: the functions were looked up by their names in libEGL and have the types that
        // the EGL 1.4 registry gives them; all pointers are to locals, and lists end with NONE.
        unsafe {
            if (egl.initialize)(display, null_mut(), null_mut()) == 0 {
                return Err(failed("eglInitialize"));
            }
            let (mut config, mut count) = (null_mut(), 0);
            let chosen =
                (egl.choose_config)(display, CONFIG.as_ptr(), &raw mut config, 1, &raw mut count);
            if chosen == 0 || count < 1 {
                return Err(failed("eglChooseConfig"));
            }
            if (egl.bind_api)(OPENGL_API) == 0 {
                return Err(failed("eglBindAPI(OpenGL)"));
            }
            let surface = (egl.create_surface)(display, config, SURFACE.as_ptr());
            if surface.is_null() {
                return Err(failed("eglCreatePbufferSurface"));
            }
            let context = (egl.create_context)(display, config, null_mut(), null());
            if context.is_null() {
                return Err(failed("eglCreateContext"));
            }
            if (egl.make_current)(display, surface, surface, context) == 0 {
                return Err(failed("eglMakeCurrent"));
            }
            Ok(Self { egl, display, surface, context, _not_send: PhantomData })
        }
    }

    /// MuJoCo's drawing context for a model. It must be dropped before `self`.
    pub(super) fn drawing_context(&self, model: &MjModel) -> MjrContext {
        // SAFETY: this thread's OpenGL context is current, and stays so while `self` lives.
        unsafe { MjrContext::new(model) }
    }
}

impl Drop for OffscreenGl {
    fn drop(&mut self) {
        // SAFETY: the handles are of this display and are not used again. The display itself is
        // shared by all contexts of the process and stays.
        unsafe {
            (self.egl.make_current)(self.display, null_mut(), null_mut(), null_mut());
            (self.egl.destroy_context)(self.display, self.context);
            (self.egl.destroy_surface)(self.display, self.surface);
        }
    }
}

/// The functions of libEGL.
struct Egl {
    get_proc_address: Symbol<unsafe extern "C" fn(*const c_char) -> Handle>,
    get_display: Symbol<unsafe extern "C" fn(Handle) -> Handle>,
    get_error: Symbol<unsafe extern "C" fn() -> Int>,
    initialize: Symbol<unsafe extern "C" fn(Handle, *mut Int, *mut Int) -> Bool>,
    choose_config:
        Symbol<unsafe extern "C" fn(Handle, *const Int, *mut Handle, Int, *mut Int) -> Bool>,
    bind_api: Symbol<unsafe extern "C" fn(u32) -> Bool>,
    create_surface: Symbol<unsafe extern "C" fn(Handle, Handle, *const Int) -> Handle>,
    create_context: Symbol<unsafe extern "C" fn(Handle, Handle, Handle, *const Int) -> Handle>,
    make_current: Symbol<unsafe extern "C" fn(Handle, Handle, Handle, Handle) -> Bool>,
    destroy_context: Symbol<unsafe extern "C" fn(Handle, Handle) -> Bool>,
    destroy_surface: Symbol<unsafe extern "C" fn(Handle, Handle) -> Bool>,
}

impl Egl {
    /// Loads libEGL, with its names visible to libmujoco, which finds OpenGL through them.
    fn load() -> Result<Self, RenderError> {
        let missing = |e: libloading::Error| RenderError::NoEgl {
            reason: std::error::Error::source(&e).map_or(e.to_string(), ToString::to_string),
        };
        // SAFETY: libEGL's initialisers have no preconditions; the types are those of the EGL
        // registry. The library is never unloaded, so the symbols stay valid.
        unsafe {
            let names = ["libEGL.so.1", "libEGL.so"];
            let open = |name| Library::open(Some(name), RTLD_NOW | RTLD_GLOBAL);
            let library =
                open(names[0]).or_else(|e| open(names[1]).map_err(|_| e)).map_err(missing)?;
            let egl = Self {
                get_proc_address: library.get(b"eglGetProcAddress\0").map_err(missing)?,
                get_display: library.get(b"eglGetDisplay\0").map_err(missing)?,
                get_error: library.get(b"eglGetError\0").map_err(missing)?,
                initialize: library.get(b"eglInitialize\0").map_err(missing)?,
                choose_config: library.get(b"eglChooseConfig\0").map_err(missing)?,
                bind_api: library.get(b"eglBindAPI\0").map_err(missing)?,
                create_surface: library.get(b"eglCreatePbufferSurface\0").map_err(missing)?,
                create_context: library.get(b"eglCreateContext\0").map_err(missing)?,
                make_current: library.get(b"eglMakeCurrent\0").map_err(missing)?,
                destroy_context: library.get(b"eglDestroyContext\0").map_err(missing)?,
                destroy_surface: library.get(b"eglDestroySurface\0").map_err(missing)?,
            };
            std::mem::forget(library);
            Ok(egl)
        }
    }

    /// The displays to try: each device, then the default.
    fn displays(&self) -> Vec<Handle> {
        type QueryDevices = unsafe extern "C" fn(Int, *mut Handle, *mut Int) -> Bool;
        type PlatformDisplay = unsafe extern "C" fn(u32, Handle, *const Int) -> Handle;
        let mut displays = Vec::new();
        // SAFETY: an extension's function, where there is one, has its registered type; the
        // device array has the length that is passed.
        unsafe {
            let query = self.extension(c"eglQueryDevicesEXT");
            let platform = self.extension(c"eglGetPlatformDisplayEXT");
            if !query.is_null() && !platform.is_null() {
                let query = std::mem::transmute::<Handle, QueryDevices>(query);
                let platform = std::mem::transmute::<Handle, PlatformDisplay>(platform);
                let (mut devices, mut count) = ([null_mut(); 32], 0);
                query(devices.len() as Int, devices.as_mut_ptr(), &raw mut count);
                for &device in &devices[..count.clamp(0, 32) as usize] {
                    displays.push(platform(PLATFORM_DEVICE_EXT, device, null()));
                }
            }
            displays.push((self.get_display)(null_mut()));
        }
        displays.retain(|display| !display.is_null());
        displays
    }

    /// Address of an extension's function; null where there is none.
    fn extension(&self, name: &CStr) -> Handle {
        // SAFETY: the name ends with 0.
        unsafe { (self.get_proc_address)(name.as_ptr()) }
    }

    fn error(&self) -> Int {
        // SAFETY: no arguments.
        unsafe { (self.get_error)() }
    }
}
