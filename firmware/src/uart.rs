//! The UART of Arm's MPS2 boards (CMSDK APB UART 0), and a clock of nanoseconds.
//!
//! Received bytes go from the interrupt to the program through a queue of one writer and one reader.

use core::{
    cell::RefCell,
    ptr::{read_volatile, write_volatile},
};

use cortex_m::{interrupt::InterruptNumber, peripheral::NVIC};
use critical_section::Mutex;
use heapless::spsc::{Consumer, Producer, Queue};

/// Bytes that may wait for the program: more than a packet of the longest kind.
const WAITING: usize = 1024;

const DATA: *mut u32 = 0x4000_4000 as *mut u32;
const STATE: *mut u32 = 0x4000_4004 as *mut u32;
const CONTROL: *mut u32 = 0x4000_4008 as *mut u32;
const INTERRUPTS: *mut u32 = 0x4000_400c as *mut u32;
const DIVIDER: *mut u32 = 0x4000_4010 as *mut u32;

/// Bits of STATE.
const TX_FULL: u32 = 1;
const RX_FULL: u32 = 1 << 1;
/// Bits of CONTROL: send, receive, interrupt on receiving.
const ENABLE: u32 = 1 | 1 << 1 | 1 << 3;
/// Bit of INTERRUPTS.
const RECEIVED: u32 = 1 << 1;

/// Timer 1 of the dual timer: it counts down at 25 MHz.
const TIMER_LOAD: *mut u32 = 0x4000_2000 as *mut u32;
const TIMER_VALUE: *mut u32 = 0x4000_2004 as *mut u32;
const TIMER_CONTROL: *mut u32 = 0x4000_2008 as *mut u32;
/// Enabled, 32 bits, free running.
const TIMER_RUNS: u32 = 1 << 7 | 1 << 1;
const NS_PER_TICK: u64 = 40;

#[derive(Clone, Copy)]
struct Receives;

// SAFETY: the number of an interrupt of this board.
unsafe impl InterruptNumber for Receives {
    fn number(self) -> u16 {
        0
    }
}

static RECEIVED_BYTES: Mutex<RefCell<Option<Producer<'static, u8>>>> =
    Mutex::new(RefCell::new(None));

/// Reads a register of the board.
fn read(register: *mut u32) -> u32 {
    // SAFETY: the addresses above are registers of this board.
    unsafe { read_volatile(register) }
}

fn write(register: *mut u32, value: u32) {
    // SAFETY: as in `read`.
    unsafe { write_volatile(register, value) }
}

/// The line.
pub struct Uart {
    waiting: Consumer<'static, u8>,
}

impl Uart {
    /// Opens the line; once.
    pub fn open() -> Option<Self> {
        let queue: &'static mut Queue<u8, WAITING> =
            cortex_m::singleton!(: Queue<u8, WAITING> = Queue::new())?;
        let (producer, waiting) = queue.split();
        critical_section::with(|cs| RECEIVED_BYTES.borrow_ref_mut(cs).replace(producer));
        write(DIVIDER, 16);
        write(CONTROL, ENABLE);
        // SAFETY: no critical section rests on this interrupt being masked.
        unsafe { NVIC::unmask(Receives) };
        Some(Self { waiting })
    }

    /// The next byte that has come.
    pub fn receive(&mut self) -> Option<u8> {
        self.waiting.dequeue()
    }

    /// Sleeps until something has come.
    pub fn sleep(&self) {
        // An interrupt that is masked wakes too, so that none slips in between look and sleep.
        critical_section::with(|_| {
            if !self.waiting.ready() {
                cortex_m::asm::wfi();
            }
        });
    }

    /// Sends bytes, waiting for room.
    pub fn send(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            while read(STATE) & TX_FULL != 0 {}
            write(DATA, u32::from(byte));
        }
    }
}

/// To be called by the interrupt: takes what has come; a byte that finds no room is lost, which the
/// packet's checksum notices.
pub fn on_interrupt() {
    critical_section::with(|cs| {
        let mut producer = RECEIVED_BYTES.borrow_ref_mut(cs);
        // Before the last look: what comes after it interrupts again.
        write(INTERRUPTS, RECEIVED);
        while read(STATE) & RX_FULL != 0 {
            let byte = read(DATA) as u8;
            if let Some(producer) = producer.as_mut() {
                let _ = producer.enqueue(byte);
            }
        }
    });
}

/// Nanoseconds since it was started, from a counter that runs by itself; to be read at least every
/// two minutes.
pub struct Clock {
    last: u32,
    ns: u64,
}

impl Clock {
    /// Starts the counter.
    pub fn start() -> Self {
        write(TIMER_LOAD, u32::MAX);
        write(TIMER_CONTROL, TIMER_RUNS);
        Self { last: read(TIMER_VALUE), ns: 0 }
    }

    /// Now.
    pub fn now_ns(&mut self) -> u64 {
        let value = read(TIMER_VALUE);
        self.ns += u64::from(self.last.wrapping_sub(value)) * NS_PER_TICK;
        self.last = value;
        self.ns
    }
}
