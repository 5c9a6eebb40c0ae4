//! Export to MCAP (<https://mcap.dev/spec>), which Foxglove opens: one JSON message a tick.

use std::io::{self, Write};

use serde_json::{Map, Value, json};

use super::{Log, Record};
use crate::{control::names, io::RobotSpec, policy::Terms};

const MAGIC: [u8; 8] = *b"\x89MCAP0\r\n";
const CRC: crc::Crc<u32, crc::Table<16>> =
    crc::Crc::<u32, crc::Table<16>>::new(&crc::CRC_32_ISO_HDLC);
/// Bytes of messages after which a chunk is closed.
const CHUNK_BYTES: usize = 1 << 20;
/// The one schema and the one channel.
const ID: u16 = 1;

/// Kinds of MCAP records.
mod op {
    pub(super) const HEADER: u8 = 0x01;
    pub(super) const FOOTER: u8 = 0x02;
    pub(super) const SCHEMA: u8 = 0x03;
    pub(super) const CHANNEL: u8 = 0x04;
    pub(super) const MESSAGE: u8 = 0x05;
    pub(super) const CHUNK: u8 = 0x06;
    pub(super) const MESSAGE_INDEX: u8 = 0x07;
    pub(super) const CHUNK_INDEX: u8 = 0x08;
    pub(super) const STATISTICS: u8 = 0x0b;
    pub(super) const DATA_END: u8 = 0x0f;
}

/// Writes a log as MCAP with one topic, `/sog/tick`, whose messages have the keys `tick, state,
/// code, latent, command, faults, limits, missed, wake_latency_ns, exec_ns, step, reward, terminated` and,
/// by term, `obs`, `raw_action` and `action`.
///
/// # Errors
/// What the disk says.
pub fn write_mcap(log: &Log, out: &mut impl Write) -> io::Result<()> {
    let spec = &log.header.spec;
    let mut file = File { out, at: 0 };
    file.write(&MAGIC)?;
    file.record(op::HEADER, &Content::default().string("").string("sog-run").0)?;

    let mut chunks = Vec::new();
    let mut chunk = Chunk::default();
    let origin = log.records.first().map_or(0, |record| record.wake.woke_ns);
    for (i, record) in log.records.iter().enumerate() {
        let time = log.header.started_unix_ns + record.wake.woke_ns.saturating_sub(origin);
        chunk.add(i as u32, time, &message(record, spec));
        if chunk.records.len() >= CHUNK_BYTES {
            chunks.push(file.chunk(std::mem::take(&mut chunk))?);
        }
    }
    if !chunk.index.is_empty() {
        chunks.push(file.chunk(chunk)?);
    }
    file.record(op::DATA_END, &0u32.to_le_bytes())?;

    let summary = file.at;
    file.record(op::SCHEMA, &schema())?;
    file.record(op::CHANNEL, &channel())?;
    for chunk in &chunks {
        file.record(op::CHUNK_INDEX, &chunk.content())?;
    }
    file.record(op::STATISTICS, &statistics(&chunks))?;
    file.record(op::FOOTER, &Content::default().u64(summary).u64(0).u32(0).0)?;
    file.write(&MAGIC)
}

fn message(record: &Record, spec: &RobotSpec) -> Value {
    let tick = &record.tick;
    let reading = tick.read.ok();
    json!({
        "tick": tick.tick,
        "state": tick.state.name(),
        "code": tick.code,
        "latent": record.latent,
        "command": tick.command.name(),
        "faults": names(tick.faults).map(|name| name.to_string()).collect::<Vec<_>>(),
        "limits": names(tick.limited).map(|name| name.to_string()).collect::<Vec<_>>(),
        "missed": record.wake.missed,
        "wake_latency_ns": record.wake.latency_ns(),
        "exec_ns": record.end_ns.saturating_sub(record.wake.woke_ns),
        "step": reading.map(|r| r.step),
        "reward": reading.and_then(|r| r.reward),
        "terminated": reading.map(|r| r.terminated),
        "obs": by_term(&spec.contract.obs_terms, &record.obs),
        "raw_action": by_term(&spec.contract.action_terms, &record.raw_action),
        "action": by_term(&spec.contract.action_terms, &record.action),
    })
}

/// Numbers as an object: term name → list.
fn by_term(terms: &Terms, values: &[f32]) -> Value {
    let mut rest = values;
    let mut object = Map::new();
    for term in &terms.0 {
        let (own, tail) = rest.split_at(term.width.min(rest.len()));
        object.insert(term.name.clone(), json!(own));
        rest = tail;
    }
    Value::Object(object)
}

fn schema() -> Vec<u8> {
    let of = |kind: &str| json!({ "type": kind });
    let schema = json!({
        "type": "object",
        "properties": {
            "tick": of("integer"), "state": of("string"), "code": of("integer"),
            "latent": { "type": "array", "items": { "type": "number" } },
            "command": of("string"),
            "faults": { "type": "array", "items": { "type": "string" } },
            "limits": { "type": "array", "items": { "type": "string" } },
            "missed": of("integer"), "wake_latency_ns": of("integer"), "exec_ns": of("integer"),
            "step": of("integer"), "reward": of("number"), "terminated": of("boolean"),
            "obs": of("object"), "raw_action": of("object"), "action": of("object"),
        },
    });
    let text = schema.to_string();
    Content::default().u16(ID).string("sog.Tick").string("jsonschema").string(&text).0
}

fn channel() -> Vec<u8> {
    Content::default().u16(ID).u16(ID).string("/sog/tick").string("json").u32(0).0
}

fn statistics(chunks: &[ChunkIndex]) -> Vec<u8> {
    let messages: u64 = chunks.iter().map(|chunk| chunk.messages).sum();
    Content::default()
        .u64(messages)
        .u16(1)
        .u32(1)
        .u32(0)
        .u32(0)
        .u32(chunks.len() as u32)
        .u64(chunks.iter().map(|chunk| chunk.first_time).min().unwrap_or(0))
        .u64(chunks.iter().map(|chunk| chunk.last_time).max().unwrap_or(0))
        .u32(10)
        .u16(ID)
        .u64(messages)
        .0
}

/// The content of a record in the making.
#[derive(Default)]
struct Content(Vec<u8>);

impl Content {
    fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    fn u16(self, v: u16) -> Self {
        self.bytes(&v.to_le_bytes())
    }

    fn u32(self, v: u32) -> Self {
        self.bytes(&v.to_le_bytes())
    }

    fn u64(self, v: u64) -> Self {
        self.bytes(&v.to_le_bytes())
    }

    fn string(self, text: &str) -> Self {
        self.u32(text.len() as u32).bytes(text.as_bytes())
    }
}

fn append_record(out: &mut Vec<u8>, opcode: u8, content: &[u8]) {
    out.push(opcode);
    out.extend_from_slice(&(content.len() as u64).to_le_bytes());
    out.extend_from_slice(content);
}

/// Messages that are written together.
#[derive(Default)]
struct Chunk {
    records: Vec<u8>,
    /// Time and place of each message.
    index: Vec<(u64, u64)>,
}

impl Chunk {
    fn add(&mut self, sequence: u32, time: u64, message: &Value) {
        if self.records.is_empty() {
            append_record(&mut self.records, op::SCHEMA, &schema());
            append_record(&mut self.records, op::CHANNEL, &channel());
        }
        self.index.push((time, self.records.len() as u64));
        let head = Content::default().u16(ID).u32(sequence).u64(time).u64(time);
        let content = head.bytes(message.to_string().as_bytes()).0;
        append_record(&mut self.records, op::MESSAGE, &content);
    }
}

/// Where a chunk is, for the summary.
struct ChunkIndex {
    first_time: u64,
    last_time: u64,
    start: u64,
    length: u64,
    index_start: u64,
    index_length: u64,
    bytes: u64,
    messages: u64,
}

impl ChunkIndex {
    fn content(&self) -> Vec<u8> {
        Content::default()
            .u64(self.first_time)
            .u64(self.last_time)
            .u64(self.start)
            .u64(self.length)
            .u32(10)
            .u16(ID)
            .u64(self.index_start)
            .u64(self.index_length)
            .string("")
            .u64(self.bytes)
            .u64(self.bytes)
            .0
    }
}

struct File<'a, W> {
    out: &'a mut W,
    at: u64,
}

impl<W: Write> File<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.at += bytes.len() as u64;
        self.out.write_all(bytes)
    }

    fn record(&mut self, opcode: u8, content: &[u8]) -> io::Result<()> {
        let mut record = Vec::with_capacity(content.len() + 9);
        append_record(&mut record, opcode, content);
        self.write(&record)
    }

    fn chunk(&mut self, chunk: Chunk) -> io::Result<ChunkIndex> {
        let times = chunk.index.iter().map(|(time, _)| *time);
        let first_time = times.clone().min().unwrap_or(0);
        let last_time = times.max().unwrap_or(0);
        let (start, bytes) = (self.at, chunk.records.len() as u64);
        let head = Content::default()
            .u64(first_time)
            .u64(last_time)
            .u64(bytes)
            .u32(CRC.checksum(&chunk.records))
            .string("")
            .u64(bytes);
        self.record(op::CHUNK, &head.bytes(&chunk.records).0)?;
        let index_start = self.at;
        let mut index = Content::default().u16(ID).u32(chunk.index.len() as u32 * 16);
        for (time, offset) in &chunk.index {
            index = index.u64(*time).u64(*offset);
        }
        self.record(op::MESSAGE_INDEX, &index.0)?;
        Ok(ChunkIndex {
            first_time,
            last_time,
            start,
            length: index_start - start,
            index_start,
            index_length: self.at - index_start,
            bytes,
            messages: chunk.index.len() as u64,
        })
    }
}
