//! The operator: keys of the terminal, and lines on a local socket.
//!
//! The line protocol: one command a line, one answer a line, `ok …` or `error …`; `error` also where
//! the state does not let the command through.
//!
//! | command | does |
//! |---|---|
//! | `arm` | watches the sensors: idle → ready |
//! | `home` | moves to the start pose and holds it: ready → homing; needs an adapter with `[homing]` |
//! | `start` | lets the policy act: ready → policy, by way of homing where the robot can be moved to its start pose |
//! | `code K` | selects code K, live; where codes are Gaussian, `mode K` does |
//! | `code NAME` | selects the code of this name, live |
//! | `code Z` | selects the code of these numbers (with commas), live; Gaussian codes only |
//! | `mode K` | selects code K, live |
//! | `damp` | damping |
//! | `stop` | emergency stop, latched |
//! | `reset` | clears damping or stop: → idle |
//! | `quit` | damping, and the end of the run |
//! | `status` | answers `ok state=… code=… ticks=… misses=… faults=… limited=… return=…`, and `name=…` where the code has one |

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    os::unix::{
        fs::{FileTypeExt, PermissionsExt},
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
    str::FromStr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use rustix::termios::{self, LocalModes, OptionalActions, Termios};
use sog_runtime::{
    control::{CodeError, Mailbox, Request, State},
    os::pipe::note,
    telemetry::Board,
};

use super::names::Names;

/// Enough for the operator's threads, and little to lock.
const STACK_BYTES: usize = 128 * 1024;
/// Operators who can be connected at once.
const MOST_OPERATORS: usize = 4;
/// How long answers to what was said last may take when the socket is closed.
const LAST_ANSWERS: Duration = Duration::from_millis(500);
/// How long a run may take to look at what was said.
const LOOKED_AT: Duration = Duration::from_millis(300);
/// Longest line.
const MAX_LINE: u64 = 256;

/// The keys, in one line for the operator.
pub(super) const KEYS: &str =
    "keys: a arm · h home · s start · 0-9 code · d damp · SPACE stop · r reset · q quit";

/// What an operator can say.
#[derive(Clone, Debug, PartialEq)]
enum Said {
    Request(Request),
    /// A code by its number.
    Select(u16),
    /// A code by its number or its numbers, whatever the policy's codes are.
    Code(Vec<f32>),
    /// A code by its name.
    Named(String),
    Status,
}

impl FromStr for Said {
    type Err = String;

    fn from_str(line: &str) -> Result<Self, String> {
        let mut words = line.split_whitespace();
        let request = match words.next().unwrap_or_default() {
            "arm" => Request::Arm,
            "start" => Request::Start,
            "home" => Request::Home,
            "damp" => Request::Damp,
            "stop" | "estop" => Request::Stop,
            "reset" => Request::Reset,
            "quit" => Request::Quit,
            "status" => return Ok(Self::Status),
            "mode" => {
                let code = words.next().and_then(|code| code.parse().ok());
                let code = code.ok_or("mode needs the number of a code, as in `mode 2`")?;
                return match words.next() {
                    None => Ok(Self::Select(code)),
                    Some(word) => Err(format!("`{word}` is too much")),
                };
            }
            "code" => {
                let words: Vec<&str> = words.collect();
                let numbers = words.iter().flat_map(|word| word.split(',')).map(str::parse);
                return match (numbers.collect::<Result<Vec<f32>, _>>(), &words[..]) {
                    (Ok(code), [_, ..]) => Ok(Self::Code(code)),
                    (Err(_), [name]) if !name.contains(',') => Ok(Self::Named(name.to_string())),
                    _ => Err("code needs the number of a code, as in `code 2`, its name, or its \
                              numbers with commas"
                        .to_string()),
                };
            }
            other => {
                return Err(format!(
                    "`{other}`: need arm, home, start, code K, code NAME, code Z, damp, stop, reset, quit or status"
                ));
            }
        };
        match words.next() {
            None => Ok(Self::Request(request)),
            Some(word) => Err(format!("`{word}` is too much")),
        }
    }
}

impl Said {
    /// Posts what was asked for.
    fn post(self, mailbox: &Mailbox, names: &Names) -> Result<(), String> {
        let posted = match self {
            Self::Request(request) => {
                mailbox.post(request);
                Ok(())
            }
            Self::Select(code) => mailbox.select(code),
            Self::Named(name) => {
                mailbox.select(names.number(&name).map_err(|error| error.to_string())?)
            }
            Self::Code(numbers) if mailbox.takes_free_codes() => mailbox.post_code(&numbers),
            Self::Code(numbers) => match numbers[..] {
                [number] if number.fract() == 0.0 && (0.0..65_536.0).contains(&number) => {
                    mailbox.select(number as u16)
                }
                _ => Err(CodeError::NotFree),
            },
            Self::Status => Ok(()),
        };
        posted.map_err(|error| error.to_string())
    }
}

/// What a key means.
fn request_of_key(key: u8) -> Option<Said> {
    if key.is_ascii_digit() {
        return Some(Said::Select(u16::from(key - b'0')));
    }
    let request = match key {
        b'a' => Some(Request::Arm),
        b'h' => Some(Request::Home),
        b's' => Some(Request::Start),
        b'd' => Some(Request::Damp),
        b' ' | b'e' => Some(Request::Stop),
        b'r' => Some(Request::Reset),
        // Without a terminal in charge, the interrupt key arrives as a character.
        b'q' | 3 => Some(Request::Quit),
        _ => None,
    };
    request.map(Said::Request)
}

/// The terminal in key-by-key mode; as it was when dropped.
pub(super) struct Keys {
    before: Termios,
}

impl Keys {
    /// Takes keys from the terminal, if there is one, and hands them on; what `pressed` answers is
    /// shown.
    pub(super) fn listen(
        pressed: impl Fn(u8) -> Option<String> + Send + 'static,
    ) -> io::Result<Option<Self>> {
        let stdin = io::stdin();
        if !termios::isatty(&stdin) {
            return Ok(None);
        }
        let before = termios::tcgetattr(&stdin)?;
        let mut raw = before.clone();
        raw.local_modes -= LocalModes::ICANON | LocalModes::ECHO;
        termios::tcsetattr(&stdin, OptionalActions::Now, &raw)?;
        spawn("sog-keys", move || {
            for key in io::stdin().lock().bytes().map_while(Result::ok) {
                if let Some(answer) = pressed(key) {
                    note(format_args!("\r\x1b[2K{answer}"));
                }
            }
        })?;
        Ok(Some(Self { before }))
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        // If it fails there is nobody left to tell.
        let _ = termios::tcsetattr(io::stdin(), OptionalActions::Now, &self.before);
    }
}

/// A local socket on which operators are heard; removed when dropped.
pub(super) struct ControlSocket {
    path: PathBuf,
    /// Lines that have come and are not answered yet.
    open: Arc<AtomicUsize>,
}

impl ControlSocket {
    /// Listens, and answers each line with what `answer` gives; only the owner of the process may
    /// connect.
    pub(super) fn listen(
        path: &Path,
        answer: impl Fn(&str) -> String + Send + Sync + 'static,
    ) -> io::Result<Self> {
        // A socket that a run before left behind is in the way; anything else is not ours.
        if path.symlink_metadata().is_ok_and(|found| found.file_type().is_socket()) {
            if UnixStream::connect(path).is_ok() {
                let what = "another run listens there";
                return Err(io::Error::new(io::ErrorKind::AddrInUse, what));
            }
            std::fs::remove_file(path)?;
        }
        let listener = UnixListener::bind(path)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
        let (answer, open) = (Arc::new(answer), Arc::new(AtomicUsize::new(0)));
        let unanswered = Arc::clone(&open);
        let connected = Arc::new(AtomicUsize::new(0));
        spawn("sog-control", move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if connected.fetch_add(1, Ordering::AcqRel) >= MOST_OPERATORS {
                    connected.fetch_sub(1, Ordering::AcqRel);
                    // Who has gone by now need not know.
                    let _ =
                        writeln!(&stream, "error {MOST_OPERATORS} operators are connected already");
                    continue;
                }
                let (answer, count) = (Arc::clone(&answer), Arc::clone(&connected));
                let open = Arc::clone(&unanswered);
                let served = spawn("sog-operator", move || {
                    // An operator who goes away is no fault.
                    let _ = converse(stream, &*answer, &open);
                    count.fetch_sub(1, Ordering::AcqRel);
                });
                if served.is_err() {
                    connected.fetch_sub(1, Ordering::AcqRel);
                }
            }
        })?;
        Ok(Self { path: path.to_path_buf(), open })
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        // Who has just said something gets the answer, if that is to be had.
        let until = Instant::now() + LAST_ANSWERS;
        while self.open.load(Ordering::Acquire) > 0 && Instant::now() < until {
            thread::sleep(Duration::from_millis(1));
        }
        // If it fails, the next run removes it.
        let _ = std::fs::remove_file(&self.path);
    }
}

fn converse(
    stream: UnixStream,
    answer: &dyn Fn(&str) -> String,
    open: &AtomicUsize,
) -> io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut stream = stream;
    loop {
        let mut line = Vec::new();
        if reader.by_ref().take(MAX_LINE).read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        open.fetch_add(1, Ordering::AcqRel);
        let answered = match std::str::from_utf8(&line) {
            Ok(line) => answer(line),
            Err(_) => "error the line is no text (UTF-8)".to_string(),
        };
        let written = writeln!(stream, "{answered}");
        open.fetch_sub(1, Ordering::AcqRel);
        written?;
    }
}

/// The operator of a run: what is said and pressed goes to its mailbox.
#[derive(Clone)]
pub(super) struct Pilot {
    mailbox: Arc<Mailbox>,
    board: Arc<Board>,
    names: Names,
}

impl Pilot {
    pub(super) fn new(mailbox: &Arc<Mailbox>, board: &Arc<Board>, names: &Names) -> Self {
        let (mailbox, board) = (Arc::clone(mailbox), Arc::clone(board));
        Self { mailbox, board, names: names.clone() }
    }

    /// The answer to a line.
    pub(super) fn answer(&self, line: &str) -> String {
        let said = match line.parse::<Said>() {
            Ok(Said::Status) => return self.status(),
            Ok(Said::Request(request)) => {
                let ticks = self.board.peek().ticks;
                self.mailbox.post(request);
                self.wait_for(request, ticks)
            }
            Ok(said) => said.post(&self.mailbox, &self.names),
            Err(reason) => Err(reason),
        };
        said.map_or_else(|reason| format!("error {reason}"), |()| "ok".to_string())
    }

    /// Waits until a request posted after so many `ticks` has been looked at; why it did nothing, if
    /// so.
    fn wait_for(&self, request: Request, ticks: u64) -> Result<(), String> {
        let until = Instant::now() + LOOKED_AT;
        while Instant::now() < until {
            // The tick that was under way may have missed it.
            let looked_at = self.board.peek().ticks >= ticks + 2;
            let state = self.board.peek().state;
            if has_come(request, state) {
                return Ok(());
            }
            if looked_at {
                let (name, needed) = needs(request);
                return Err(format!("{name} does nothing in the state {state}: {needed}"));
            }
            thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    fn status(&self) -> String {
        let now = self.board.peek();
        let sum = now.episode_return.map_or("none".to_string(), |r| format!("{r:.3}"));
        format!(
            "ok state={} code={} ticks={} misses={} faults={} limited={} return={sum}{}",
            now.state,
            now.code,
            now.ticks,
            now.misses,
            now.faults,
            now.limited,
            self.names.name(now.code).map_or(String::new(), |name| format!(" name={name}"))
        )
    }

    /// Why a key does nothing, if so.
    pub(super) fn press(&self, key: u8) -> Option<String> {
        request_of_key(key)?.post(&self.mailbox, &self.names).err()
    }
}

/// Whether a run is where a request leads, or beyond.
fn has_come(request: Request, state: State) -> bool {
    match request {
        Request::Arm => matches!(state, State::Ready | State::Homing | State::Policy),
        Request::Start => matches!(state, State::Homing | State::Policy),
        Request::Home => state == State::Homing,
        Request::Damp => state == State::Damping,
        Request::Stop => state == State::EStop,
        Request::Reset => state == State::Idle,
        _ => true,
    }
}

/// A request's name, and the states in which it does something.
fn needs(request: Request) -> (&'static str, &'static str) {
    match request {
        Request::Arm => ("arm", "need idle (`reset` leads there)"),
        Request::Start => ("start", "need ready (`arm` leads there) or homing"),
        Request::Home => {
            ("home", "need ready (`arm` leads there), and --adapter with a file that has [homing]")
        }
        Request::Damp => ("damp", "need idle, ready, homing or policy"),
        Request::Reset => ("reset", "need ready, damping or estop"),
        _ => ("this", "look at `status`"),
    }
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    thread::Builder::new().name(name.to_string()).stack_size(STACK_BYTES).spawn(work).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use sog_runtime::control::{Event, Requests, TABLE};

    #[test]
    fn lines_are_understood_or_refused_with_a_reason() {
        for (line, request) in [
            ("arm", Request::Arm),
            (" start ", Request::Start),
            ("home", Request::Home),
            ("damp\r\n", Request::Damp),
            ("stop", Request::Stop),
            ("estop", Request::Stop),
            ("reset", Request::Reset),
            ("quit", Request::Quit),
        ] {
            assert_eq!(line.parse(), Ok(Said::Request(request)), "{line}");
        }
        assert_eq!("status".parse(), Ok(Said::Status));
        assert_eq!("mode 65535".parse(), Ok(Said::Select(65_535)));
        for line in ["code 0.5,-1,2", "code 0.5 -1 2"] {
            assert_eq!(line.parse(), Ok(Said::Code(vec![0.5, -1.0, 2.0])), "{line}");
        }
        for bad in [
            "",
            "go",
            "code",
            "code x 1",
            "code x,y",
            "code 1,,2",
            "mode",
            "mode x",
            "mode -1",
            "mode 65536",
            "arm now",
            "ARM",
        ] {
            assert!(bad.parse::<Said>().is_err(), "{bad}");
        }
    }

    #[test]
    fn every_request_has_a_key() {
        for key in b"ahsd er012345q9" {
            assert!(request_of_key(*key).is_some());
        }
        assert_eq!(request_of_key(b'7'), Some(Said::Select(7)));
        assert_eq!(request_of_key(b'x'), None);
    }

    #[test]
    fn an_operator_is_heard_on_the_socket() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("control");
        let (mailbox, board) = (Arc::new(Mailbox::with_codes(3, 2)), Board::new());
        let listen = || {
            let pilot = Pilot::new(&mailbox, &board, &Names::default());
            ControlSocket::listen(&path, move |line| pilot.answer(line))
        };
        let socket = listen().unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let second = listen().err().unwrap();
        assert_eq!(second.kind(), io::ErrorKind::AddrInUse);

        let stream = UnixStream::connect(&path).unwrap();
        let mut answers = BufReader::new(stream.try_clone().unwrap()).lines();
        let mut say = |line: &str| {
            writeln!(&stream, "{line}").unwrap();
            answers.next().unwrap().unwrap()
        };
        assert_eq!(say("mode 2"), "ok");
        assert_eq!(mailbox.take().code(), Some(2));
        assert!(say("mode 9").starts_with("error there is no code 9: the policy has 3"));
        assert!(mailbox.take().is_empty());
        assert_eq!(say("code 0.5,-1"), "ok");
        let mut code = [0.0; 2];
        assert!(mailbox.take_with_code(&mut code).contains(Requests::FREE_CODE));
        assert_eq!(code, [0.5, -1.0]);
        assert!(say("code 0.5").starts_with("error 1 numbers, need 2"));
        assert!(say("jump").starts_with("error `jump`"));
        assert!(say("status").starts_with("ok state=idle code=0 ticks=0"));
        drop(socket);
        assert!(!path.exists());
    }

    #[test]
    fn what_is_no_text_or_one_too_many_is_told_so() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("control");
        let _socket = ControlSocket::listen(&path, |line| format!("ok {}", line.trim())).unwrap();
        let connect = || {
            let stream = UnixStream::connect(&path).unwrap();
            let answers = BufReader::new(stream.try_clone().unwrap()).lines();
            (stream, answers)
        };
        let mut operators: Vec<_> = (0..MOST_OPERATORS).map(|_| connect()).collect();
        for (stream, answers) in &mut operators {
            stream.write_all(b"\xff\xfe\nhello\n").unwrap();
            assert!(answers.next().unwrap().unwrap().starts_with("error the line is no text"));
            assert_eq!(answers.next().unwrap().unwrap(), "ok hello");
        }
        let (_late, mut answers) = connect();
        assert!(answers.next().unwrap().unwrap().starts_with("error 4 operators"));
    }

    #[test]
    fn a_request_that_a_state_does_not_let_through_is_an_error() {
        for request in [
            Request::Arm,
            Request::Start,
            Request::Home,
            Request::Damp,
            Request::Stop,
            Request::Reset,
        ] {
            let event = match request {
                Request::Arm => Event::Arm,
                Request::Start => Event::Start,
                Request::Home => Event::Home,
                Request::Damp => Event::Damp,
                Request::Stop => Event::Stop,
                _ => Event::Reset,
            };
            let row = TABLE.iter().find(|(other, _)| *other == event).unwrap().1;
            for (from, to) in (0..6).zip(row) {
                let from = State::from_u8(from).unwrap();
                // Where it leads it has come; where it does nothing it has come only if it was there.
                match to {
                    Some(to) => assert!(has_come(request, to), "{request:?} {from}"),
                    None => {
                        let there = matches!(
                            (request, from),
                            (Request::Arm, State::Ready | State::Homing | State::Policy)
                                | (Request::Start, State::Policy)
                                | (Request::Home, State::Homing)
                                | (Request::Damp, State::Damping)
                                | (Request::Stop, State::EStop)
                                | (Request::Reset, State::Idle)
                        );
                        assert_eq!(has_come(request, from), there, "{request:?} {from}");
                    }
                }
            }
        }
    }

    #[test]
    fn where_codes_are_not_free_code_selects_by_number() {
        let mailbox = Mailbox::with_codes(2, 0);
        let say = |line: &str| {
            line.parse::<Said>().and_then(|said| said.post(&mailbox, &Names::default()))
        };
        assert_eq!(say("code 1"), Ok(()));
        assert_eq!(mailbox.take().code(), Some(1));
        for bad in ["code 9", "code 2", "code -1", "code 0.5", "code 0,1", "mode 2"] {
            assert!(say(bad).is_err(), "{bad}");
        }
        assert!(mailbox.take().is_empty());
    }

    #[test]
    fn codes_go_by_their_names_where_the_policy_has_a_book() {
        use sog_runtime::policy::{book::Book, example};
        let file = example(3);
        let mut book = Book::unnamed(3);
        book.rename("1", "outer").unwrap();
        let names = Names::read(&book.write_into(&file.to_bytes()).unwrap(), &file).unwrap();
        let mailbox = Mailbox::with_codes(3, 0);
        let say = |line: &str| line.parse::<Said>().and_then(|said| said.post(&mailbox, &names));
        assert_eq!("code outer".parse(), Ok(Said::Named("outer".to_string())));
        assert_eq!(say("code outer"), Ok(()));
        assert_eq!(mailbox.take().code(), Some(1));
        let unknown = say("code inner").unwrap_err();
        assert!(unknown.contains("`inner`") && unknown.contains("0, outer, 2"), "{unknown}");
        assert_eq!((names.call(1).as_str(), names.call(2).as_str()), ("outer", "2"));
        assert!(Names::default().number("outer").unwrap_err().to_string().contains("sog name"));
    }
}
