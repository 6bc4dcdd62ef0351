//! The messages between two actors, and their form on a byte stream.
//!
//! A frame is two lengths of four bytes each, little-endian, then one [`Message`] in postcard's format, of the first length, and the
//! bytes of the [`Payload`] it carries, of the second: apart, so that large ones are neither copied on their way out nor on their
//! way in. The set is closed; both ends say [`Message::Hello`] first, so that two versions refuse each other by name. Whatever bytes arrive,
//! the decoder answers with a message, with "not yet", or with [`Garbage`]: it neither panics nor allocates more than the
//! limit allows.
//!
//! Used by `ipc` (frames) and by `rpc` and `supervise` (messages). No input or output here.

use std::any::{Any, TypeId};
use std::borrow::Cow;
use std::collections::VecDeque;
use std::fmt;
use std::os::fd::OwnedFd;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::{ActorId, RemoteError, same_type};
use crate::parcel::{self, MOST_ENDS};
use crate::spawn::{Backend, Link};
use crate::variables::Variables;

/// The version of this file. A peer with another is refused.
pub(crate) const PROTOCOL: u32 = 5;

/// The largest frame without its lengths, in bytes. A value that does not fit is refused where it is sent.
pub const FRAME_LIMIT_BYTES: usize = 64 << 20;

/// What of a frame's limit is kept for everything around a payload.
const ENVELOPE_BYTES: usize = 64 << 10;

/// Everything two actors say to each other: between a parent and its child all of it, between others the dialogue.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Message {
    /// First in both directions.
    Hello { protocol: u32, actor: ActorId, incarnation: u64, pid: u32 },
    /// Second from the parent: what the child is to be.
    Spec(Box<Spec>),
    /// The child serves.
    Ready,
    /// The child will not serve, and ends.
    BootFailed(BootFailure),
    /// What either may say, on any channel.
    Dialogue(Dialogue),
    /// End the actor, all below it first, `within` this time.
    CancelActor { by: ActorId, within: Duration },
    /// [`Message::CancelActor`] was read.
    CancelAck,
    /// [`Message::CancelActor`] was read, and is not for a peer to say: this is a root.
    CancelRefused,
    /// The actor ends because `by`, who is not told this, wanted it.
    Ending { by: ActorId },
    /// A step of the teardown below was made: it is not stuck.
    Progress,
    /// The last from the child: what failed in it and no scope was left to return, boxed like what a function returns.
    Farewell { failure: Option<RemoteError> },
}

/// What two actors say to each other of a call or a context, whoever of them is the parent, if any is. Ids belong to the one who
/// opened it, so both may use the same number: the kind of message tells whose it is, or its [`Side`].
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Dialogue {
    /// From the opener: run a function. The id is new among the opener's on this channel. One that has another fingerprint there is
    /// not run.
    Call { id: u64, function: Cow<'static, str>, fingerprint: u64, args: Payload },
    /// To the opener: the function's value. The last of a call or context.
    Return { id: u64, value: Payload },
    /// To the opener: there is no value. The last of a call or context.
    Failed { id: u64, failure: Failure },
    /// From the opener, who no longer waits: end the function.
    CancelCall { id: u64 },
    /// From the opener: run a function in a context. The id is new, as a call's.
    Open { id: u64, function: Cow<'static, str>, fingerprint: u64, args: Payload, terms: Terms },
    /// To the opener: the context's task is under way.
    Started { id: u64, value: Payload },
    /// An item of the context's stream.
    Item { id: u64, from: Side, item: Payload },
    /// So many more items may be sent to `from`.
    Credit { id: u64, from: Side, count: u32 },
    /// No more items come.
    EndOfStream { id: u64, from: Side },
    /// From the opener: end the context's task, for `by`, and say what became of it.
    CancelContext { id: u64, by: ActorId },
    /// To the opener: [`Dialogue::CancelContext`] was read.
    CancelHeard { id: u64 },
    /// Somebody was given a portal to the actor this is said to: that end of the channel between the two.
    Introduce { end: End },
}

/// An end of a context.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Side {
    Opener,
    Server,
}

/// What the opener of a context decides about its stream, for both directions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Terms {
    /// So many items may be sent and not yet received.
    pub capacity: u32,
    pub overrun: Overrun,
}

/// What becomes of an item that is sent while as many as may be are waiting at the receiver.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Overrun {
    /// The sender waits until there is room. Nobody else on the channel does.
    #[default]
    Wait,
    /// The sender is told [`Error::StreamOverrun`](crate::Error::StreamOverrun).
    Error,
    /// It is dropped, and counted.
    Drop,
}

/// A registered name as people read it: the path, without the place in the source that makes it unique.
pub(crate) fn shown(name: &str) -> &str {
    name.split_once('@').map_or(name, |(path, _)| path)
}

/// An end of a new channel, on its way to the actor whose it is to be.
pub(crate) struct End(Option<Link>);

/// What a child is to be.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Spec {
    pub parent: ActorId,
    /// Which of its lives this is.
    pub incarnation: u64,
    pub vars: Vars,
    /// The names of the functions it serves; nothing else is looked up.
    pub exposure: Vec<Cow<'static, str>>,
    /// The constructor of its state and the constructor's arguments.
    pub state: Option<(Cow<'static, str>, Payload)>,
    pub life: Life,
}

/// How long an actor lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Life {
    /// Until it is cancelled.
    Daemon,
    /// Until its first call has been answered.
    OneShot,
}

/// What the whole tree knows, set at its root and handed down.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Vars {
    /// On which backend a child is started that is given none.
    pub backend: Backend,
    pub timings: Timings,
    pub variables: Variables,
}

/// How long each wait of a start and of a teardown may take. Handed down the tree; what is left of a parent's own deadline
/// bounds a child's. None is more than ten years, whatever is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timings {
    /// From the start of an actor to its being ready. Default 10 s.
    pub boot: Duration,
    /// From the request to end to its acknowledgement. Default 0.5 s.
    pub ack: Duration,
    /// From the request to the end of an actor that acknowledged. Default 1.6 s.
    pub soft: Duration,
    /// From SIGTERM to SIGKILL. Default 0.25 s.
    pub terminate: Duration,
    /// From the request to leaving alone a thread that does not end. Default 3 s.
    pub abandon: Duration,
    /// What an actor whose parent vanished gives its own tree to end. Default 1 s.
    pub orphan: Duration,
}

impl Default for Timings {
    fn default() -> Timings {
        Timings {
            boot: Duration::from_secs(10),
            ack: Duration::from_millis(500),
            soft: Duration::from_millis(1600),
            terminate: Duration::from_millis(250),
            abandon: Duration::from_secs(3),
            orphan: Duration::from_secs(1),
        }
    }
}

/// As good as no bound, and no clock overflows.
pub(crate) const LONGEST: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

impl Timings {
    /// With waits that can be added to any point in time.
    pub(crate) fn bounded(self) -> Timings {
        let Timings { boot, ack, soft, terminate, abandon, orphan } = self;
        Timings {
            boot: boot.min(LONGEST),
            ack: ack.min(LONGEST),
            soft: soft.min(LONGEST),
            terminate: terminate.min(LONGEST),
            abandon: abandon.min(LONGEST),
            orphan: orphan.min(LONGEST),
        }
    }
}

/// Why a child will not serve.
#[derive(Debug, thiserror::Error, Serialize, Deserialize)]
pub(crate) enum BootFailure {
    /// The other end speaks another version.
    #[error("the parent speaks version {theirs} of the protocol, and this program {ours}")]
    Protocol { theirs: u32, ours: u32 },
    /// Its first messages were not those of a parent.
    #[error("{reason}")]
    Greeting { reason: String },
    /// A function or constructor this program does not have: it is another program than its parent's.
    #[error("this program has no {function}")]
    Unknown { function: String },
    /// Two functions of this program answer to one name.
    #[error("this program has {function} twice")]
    Ambiguous { function: String },
    /// The constructor failed or panicked.
    #[error("{0}")]
    Construct(RemoteError),
    /// The constructor was given what is not its own.
    #[error("the arguments of {constructor} are not its own: {reason}")]
    Arguments { constructor: String, reason: String },
}

/// Why a call has no value.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Failure {
    /// The function returned its error.
    Returned(RemoteError),
    /// The function panicked.
    Panicked(RemoteError),
    NotExposed,
    /// The function's fingerprint is another there.
    OtherTypes,
    /// The arguments were not the function's, or its value could not be sent.
    Unsendable {
        what: String,
        reason: String,
    },
    /// It was told to end: the actor, or the context's task alone.
    Cancelled {
        by: ActorId,
    },
    /// The context's task has ended without having said `started`.
    NotStarted,
}

/// A value on its way: as bytes between processes, as itself between threads.
pub(crate) enum Payload {
    Bytes(Vec<u8>),
    /// Bytes that refer to descriptors, which go beside them.
    Parcel(Box<Parcel>),
    Value(Box<dyn Any + Send>),
}

/// See [`Payload::Parcel`].
pub(crate) struct Parcel {
    bytes: Vec<u8>,
    /// How many descriptors belong to it.
    count: usize,
    /// None while they travel beside the message.
    ends: Vec<OwnedFd>,
}

/// Whether a channel takes values as themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Bytes,
    Value,
}

impl Payload {
    /// `value` in the form that a channel takes. Bytes are themselves in either.
    pub(crate) fn pack<T: Serialize + Send + 'static>(
        value: T,
        form: Form,
    ) -> Result<Payload, Unpackable> {
        match form {
            Form::Value => Ok(Payload::Value(Box::new(value))),
            Form::Bytes => {
                let value = match same_type::<T, Vec<u8>>(value) {
                    // Nothing is within that could have a descriptor.
                    Ok(bytes) => return Ok(Payload::Bytes(within_limit(bytes)?)),
                    Err(value) => value,
                };
                let (bytes, ends) = parcel::packing(|| to_bytes(&value));
                let bytes = within_limit(bytes?)?;
                match ends.len() {
                    0 => Ok(Payload::Bytes(bytes)),
                    count if count > MOST_ENDS => Err(Unpackable::Ends(count)),
                    count => Ok(Payload::Parcel(Box::new(Parcel { bytes, count, ends }))),
                }
            }
        }
    }

    /// The value again.
    pub(crate) fn unpack<T: for<'de> Deserialize<'de> + 'static>(self) -> Result<T, Unpackable> {
        match self {
            Payload::Bytes(bytes) if TypeId::of::<T>() == TypeId::of::<Vec<u8>>() => {
                same_type(bytes).map_err(|_| Unpackable::Type("it is bytes".to_owned()))
            }
            Payload::Bytes(bytes) => read(&bytes),
            Payload::Parcel(parcel) => parcel::unpacking(parcel.ends, || read(&parcel.bytes)),
            Payload::Value(value) => value
                .downcast::<T>()
                .map(|value| *value)
                .map_err(|_| Unpackable::Type(format!("it is no {}", std::any::type_name::<T>()))),
        }
    }

    /// Its bytes, and the descriptors they refer to. `None`: it was packed for a thread.
    pub(crate) fn into_parts(self) -> Option<(Vec<u8>, Vec<OwnedFd>)> {
        match self {
            Payload::Bytes(bytes) => Some((bytes, Vec::new())),
            Payload::Parcel(parcel) => Some((parcel.bytes, parcel.ends)),
            Payload::Value(_) => None,
        }
    }

    /// What [`Payload::into_parts`] has taken apart.
    pub(crate) fn of_parts(bytes: Vec<u8>, ends: Vec<OwnedFd>) -> Payload {
        match ends.len() {
            0 => Payload::Bytes(bytes),
            count => Payload::Parcel(Box::new(Parcel { bytes, count, ends })),
        }
    }

    /// About how much memory it holds, in bytes.
    pub(crate) fn weight_bytes(&self) -> usize {
        match self {
            Payload::Bytes(bytes) => bytes.len(),
            Payload::Parcel(parcel) => parcel.bytes.len(),
            Payload::Value(_) => 0,
        }
    }
}

/// Most values are smaller; a larger one grows from here.
const VALUE_BYTES: usize = 128;

fn to_bytes<T: Serialize>(value: &T) -> Result<Vec<u8>, Unpackable> {
    let mut bytes = Vec::with_capacity(VALUE_BYTES);
    postcard::serialize_with_flavor(value, Append(&mut bytes))
        .map_err(|error| Unpackable::Type(error.to_string()))?;
    Ok(bytes)
}

fn within_limit(bytes: Vec<u8>) -> Result<Vec<u8>, Unpackable> {
    if bytes.len() > FRAME_LIMIT_BYTES - ENVELOPE_BYTES {
        return Err(Unpackable::Size(bytes.len()));
    }
    Ok(bytes)
}

fn read<T: for<'de> Deserialize<'de>>(bytes: &[u8]) -> Result<T, Unpackable> {
    match postcard::take_from_bytes(bytes) {
        Ok((value, [])) => Ok(value),
        // Bytes of another type may begin like one of this.
        Ok((_, rest)) => {
            let name = std::any::type_name::<T>();
            Err(Unpackable::Type(format!("{} bytes more than a {name}", rest.len())))
        }
        Err(error) => Err(Unpackable::Type(error.to_string())),
    }
}

/// A value that cannot be sent, or bytes that are not the expected value.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unpackable {
    #[error("{0}")]
    Type(String),
    #[error("{0} bytes, and a message holds at most {limit}", limit = FRAME_LIMIT_BYTES - ENVELOPE_BYTES)]
    Size(usize),
    #[error("it holds {0} portals and ends of channels, and a message brings at most {MOST_ENDS}")]
    Ends(usize),
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Payload::Bytes(bytes) => write!(f, "{} bytes", bytes.len()),
            Payload::Parcel(parcel) => {
                write!(f, "{} bytes and {} descriptors", parcel.bytes.len(), parcel.count)
            }
            Payload::Value(_) => f.write_str("a value"),
        }
    }
}

impl Serialize for Payload {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Payload::Bytes(bytes) => (0_u32, Raw(bytes)).serialize(serializer),
            Payload::Parcel(parcel) => {
                let count = u32::try_from(parcel.count).map_err(serde::ser::Error::custom)?;
                (count, Raw(&parcel.bytes)).serialize(serializer)
            }
            Payload::Value(_) => Err(serde::ser::Error::custom("a value packed for a thread")),
        }
    }
}

impl<'de> Deserialize<'de> for Payload {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Payload, D::Error> {
        let (count, Buffer(bytes)) = <(u32, Buffer)>::deserialize(deserializer)?;
        match usize::try_from(count) {
            Ok(0) => Ok(Payload::Bytes(bytes)),
            Ok(count) if count <= MOST_ENDS => {
                Ok(Payload::Parcel(Box::new(Parcel { bytes, count, ends: Vec::new() })))
            }
            Ok(_) | Err(_) => {
                Err(serde::de::Error::custom("more descriptors than a message brings"))
            }
        }
    }
}

/// Bytes as serde should have them: at once.
struct Raw<'a>(&'a [u8]);

impl Serialize for Raw<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

struct Buffer(Vec<u8>);

impl<'de> Deserialize<'de> for Buffer {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Buffer, D::Error> {
        deserializer.deserialize_byte_buf(BytesVisitor).map(Buffer)
    }
}

/// Takes bytes in one copy; serde's own `Vec<u8>` goes byte by byte.
struct BytesVisitor;

impl serde::de::Visitor<'_> for BytesVisitor {
    type Value = Vec<u8>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("bytes")
    }

    fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
        Ok(bytes.to_vec())
    }

    fn visit_byte_buf<E: serde::de::Error>(self, bytes: Vec<u8>) -> Result<Vec<u8>, E> {
        Ok(bytes)
    }
}

impl End {
    pub(crate) fn new(link: Link) -> End {
        End(Some(link))
    }

    /// What it is an end of. `None`: it did not arrive.
    pub(crate) fn into_link(self) -> Option<Link> {
        self.0
    }
}

impl fmt::Debug for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an end of a channel")
    }
}

/// Nothing of it is in the bytes: it goes beside them.
impl Serialize for End {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Some(Link::Memory(_)) => Err(serde::ser::Error::custom("an end made for a thread")),
            Some(Link::Socket(_)) | None => serializer.serialize_unit(),
        }
    }
}

impl<'de> Deserialize<'de> for End {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<End, D::Error> {
        <()>::deserialize(deserializer).map(|()| End(None))
    }
}

/// What of a message goes beside its bytes.
enum Beside<'a> {
    Nothing,
    End(&'a mut End),
    Parcel(&'a mut Parcel),
}

impl Message {
    /// What an actor says first.
    pub(crate) fn hello(actor: ActorId, incarnation: u64) -> Message {
        Message::Hello { protocol: PROTOCOL, actor, incarnation, pid: std::process::id() }
    }

    /// Takes out the descriptors that go beside its bytes.
    pub(crate) fn take_ends(&mut self) -> Vec<OwnedFd> {
        match self.beside() {
            Beside::Nothing => Vec::new(),
            Beside::End(end) => match end.0.take() {
                Some(Link::Socket(fd)) => vec![fd],
                other => {
                    end.0 = other;
                    Vec::new()
                }
            },
            Beside::Parcel(parcel) => std::mem::take(&mut parcel.ends),
        }
    }

    /// Puts in the descriptors that came beside its bytes, from the front of those that `arrived`.
    pub(crate) fn put_ends(&mut self, arrived: &mut VecDeque<OwnedFd>) -> Result<(), Garbage> {
        match self.beside() {
            Beside::Nothing => {}
            Beside::End(end) => {
                end.0 = Some(Link::Socket(arrived.pop_front().ok_or(Garbage::Bare)?));
            }
            Beside::Parcel(parcel) if arrived.len() < parcel.count => return Err(Garbage::Bare),
            Beside::Parcel(parcel) => parcel.ends = arrived.drain(..parcel.count).collect(),
        }
        Ok(())
    }

    fn beside(&mut self) -> Beside<'_> {
        let payload = match self {
            Message::Dialogue(Dialogue::Introduce { end }) => return Beside::End(end),
            Message::Dialogue(dialogue) => dialogue.payload(),
            Message::Spec(spec) => spec.state.as_mut().map(|(_, init)| init),
            Message::Hello { .. }
            | Message::Ready
            | Message::BootFailed(_)
            | Message::CancelActor { .. }
            | Message::CancelAck
            | Message::CancelRefused
            | Message::Ending { .. }
            | Message::Progress
            | Message::Farewell { .. } => None,
        };
        match payload {
            Some(Payload::Parcel(parcel)) => Beside::Parcel(parcel),
            Some(Payload::Bytes(_) | Payload::Value(_)) | None => Beside::Nothing,
        }
    }

    /// Whether it goes before whatever waits to be sent: all that steers, nothing that carries a value.
    pub(crate) fn is_control(&self) -> bool {
        match self {
            Message::Dialogue(dialogue) => dialogue.is_control(),
            // First, whatever is said.
            Message::Hello { .. }
            | Message::CancelActor { .. }
            | Message::CancelAck
            | Message::CancelRefused
            | Message::Ending { .. }
            | Message::Progress => true,
            Message::Spec(_)
            | Message::Ready
            | Message::BootFailed(_)
            | Message::Farewell { .. } => false,
        }
    }

    /// About how much memory it holds while it waits to be sent, in bytes.
    pub(crate) fn weight_bytes(&self) -> usize {
        let payload = match self {
            Message::Dialogue(dialogue) => dialogue.payload_bytes(),
            Message::Hello { .. }
            | Message::Spec(_)
            | Message::Ready
            | Message::BootFailed(_)
            | Message::CancelActor { .. }
            | Message::CancelAck
            | Message::CancelRefused
            | Message::Ending { .. }
            | Message::Progress
            | Message::Farewell { .. } => 0,
        };
        size_of::<Message>() + payload
    }
}

impl Dialogue {
    fn is_control(&self) -> bool {
        match self {
            Dialogue::CancelCall { .. }
            | Dialogue::Credit { .. }
            | Dialogue::CancelContext { .. }
            | Dialogue::CancelHeard { .. } => true,
            Dialogue::Call { .. }
            | Dialogue::Return { .. }
            | Dialogue::Failed { .. }
            | Dialogue::Open { .. }
            | Dialogue::Started { .. }
            | Dialogue::Item { .. }
            | Dialogue::EndOfStream { .. }
            | Dialogue::Introduce { .. } => false,
        }
    }

    fn payload(&mut self) -> Option<&mut Payload> {
        match self {
            Dialogue::Call { args, .. } | Dialogue::Open { args, .. } => Some(args),
            Dialogue::Return { value, .. } | Dialogue::Started { value, .. } => Some(value),
            Dialogue::Item { item, .. } => Some(item),
            Dialogue::Failed { .. }
            | Dialogue::CancelCall { .. }
            | Dialogue::Credit { .. }
            | Dialogue::EndOfStream { .. }
            | Dialogue::CancelContext { .. }
            | Dialogue::CancelHeard { .. }
            | Dialogue::Introduce { .. } => None,
        }
    }

    fn payload_bytes(&self) -> usize {
        match self {
            Dialogue::Call { args, .. } | Dialogue::Open { args, .. } => args.weight_bytes(),
            Dialogue::Return { value, .. } | Dialogue::Started { value, .. } => {
                value.weight_bytes()
            }
            Dialogue::Item { item, .. } => item.weight_bytes(),
            Dialogue::Failed { .. }
            | Dialogue::CancelCall { .. }
            | Dialogue::Credit { .. }
            | Dialogue::EndOfStream { .. }
            | Dialogue::CancelContext { .. }
            | Dialogue::CancelHeard { .. }
            | Dialogue::Introduce { .. } => 0,
        }
    }
}

impl From<Dialogue> for Message {
    fn from(dialogue: Dialogue) -> Message {
        Message::Dialogue(dialogue)
    }
}

/// The bytes of a frame's lengths.
const HEADER_BYTES: usize = 8;

/// A payload of so many bytes is not copied: it is written from where it is, and read to where it stays.
const LARGE_BYTES: usize = 16 << 10;

/// Appends the frame of `message` to `out`. A large payload comes back, to be written right after it. On an error `out` is as before.
pub(crate) fn encode(
    mut message: Message,
    out: &mut Vec<u8>,
) -> Result<Option<Vec<u8>>, Unencodable> {
    let payload = message.detach();
    let start = out.len();
    out.extend_from_slice(&[0; HEADER_BYTES]);
    let encoded = postcard::serialize_with_flavor(&message, Append(out));
    let length = out.len() - start - HEADER_BYTES;
    let refused = match encoded {
        Err(error) => Some(Unencodable::Type(error)),
        Ok(()) if length + payload.len() > FRAME_LIMIT_BYTES => {
            Some(Unencodable::Size(length + payload.len()))
        }
        Ok(()) => None,
    };
    if let Some(refused) = refused {
        out.truncate(start);
        return Err(refused);
    }
    let header = &mut out[start..start + HEADER_BYTES];
    header[..4].copy_from_slice(&length_bytes(length));
    header[4..].copy_from_slice(&length_bytes(payload.len()));
    if payload.len() >= LARGE_BYTES {
        return Ok(Some(payload));
    }
    out.extend_from_slice(&payload);
    Ok(None)
}

/// A length within the limit.
fn length_bytes(length: usize) -> [u8; 4] {
    u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes()
}

impl Message {
    /// Takes the bytes of its payload out, if it carries bytes.
    fn detach(&mut self) -> Vec<u8> {
        match self.payload_mut() {
            Some(Payload::Bytes(bytes)) => std::mem::take(bytes),
            Some(Payload::Parcel(_) | Payload::Value(_)) | None => Vec::new(),
        }
    }

    /// Puts them back. `Err`: it carries none.
    fn attach(&mut self, bytes: Vec<u8>) -> Result<(), Garbage> {
        match self.payload_mut() {
            Some(payload @ Payload::Bytes(_)) => *payload = Payload::Bytes(bytes),
            Some(Payload::Parcel(_) | Payload::Value(_)) | None if bytes.is_empty() => {}
            Some(Payload::Parcel(_) | Payload::Value(_)) | None => {
                return Err(Garbage::Trailing(bytes.len()));
            }
        }
        Ok(())
    }

    /// What goes behind it in its frame. A spec's payload is within.
    fn payload_mut(&mut self) -> Option<&mut Payload> {
        match self {
            Message::Dialogue(dialogue) => dialogue.payload(),
            Message::Hello { .. }
            | Message::Spec(_)
            | Message::Ready
            | Message::BootFailed(_)
            | Message::CancelActor { .. }
            | Message::CancelAck
            | Message::CancelRefused
            | Message::Ending { .. }
            | Message::Progress
            | Message::Farewell { .. } => None,
        }
    }
}

/// Postcard's output, at the end of a buffer that is in use.
struct Append<'a>(&'a mut Vec<u8>);

impl postcard::ser_flavors::Flavor for Append<'_> {
    type Output = ();

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.0.push(byte);
        Ok(())
    }

    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}

/// A message that no frame can carry.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unencodable {
    #[error("{0}")]
    Type(postcard::Error),
    #[error("{0} bytes, and a frame holds at most {FRAME_LIMIT_BYTES}")]
    Size(usize),
}

/// Bytes that no peer of ours sends.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Garbage {
    #[error("a frame of {0} bytes was announced, and {FRAME_LIMIT_BYTES} is the limit")]
    TooLong(usize),
    #[error("a frame is no message: {0}")]
    Malformed(postcard::Error),
    #[error("{0} bytes follow the message in its frame")]
    Trailing(usize),
    #[error("a message came without the descriptors it speaks of")]
    Bare,
}

/// Bytes in, messages out.
pub(crate) struct Decoder {
    /// Initialised throughout; what lies in `start..end` has come and is not decoded.
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// What the next read is offered at least.
    read_bytes: usize,
    /// While one comes, nothing lies in the buffer.
    large: Option<Large>,
}

/// A message whose payload is large and is still coming.
struct Large {
    message: Message,
    /// Initialised throughout; what lies in `..end` has come.
    payload: Vec<u8>,
    end: usize,
    /// What it will be, in bytes.
    announced: usize,
}

/// What the first read is offered: nearly every message fits, and a new actor touches no more memory than it needs.
const FIRST_READ_BYTES: usize = 1 << 10;

/// After reads that were filled to the brim more is offered, up to this.
const MOST_READ_BYTES: usize = 64 << 10;

/// A buffer that grew beyond this is given back once it is empty.
const KEEP_BYTES: usize = 256 << 10;

/// So much memory is given for a payload that was announced before it has come; beyond, as much again as has come.
const TRUST_BYTES: usize = 1 << 20;

impl Default for Decoder {
    fn default() -> Decoder {
        let (buffer, read_bytes) = (Vec::new(), FIRST_READ_BYTES);
        Decoder { buffer, start: 0, end: 0, read_bytes, large: None }
    }
}

impl Decoder {
    /// Where to put the next bytes: the rest of the frame that has begun, or a few small ones. Then say how many came, to
    /// [`Decoder::filled`].
    pub(crate) fn room(&mut self) -> &mut [u8] {
        if self.start == self.end {
            self.reset();
        }
        if self.large.is_none() && self.buffer.len() - self.end < self.read_bytes {
            self.make_room();
        }
        match &mut self.large {
            Some(large) => large.room(),
            None => &mut self.buffer[self.end..],
        }
    }

    /// So many bytes were put into [`Decoder::room`].
    pub(crate) fn filled(&mut self, count: usize) {
        if let Some(large) = &mut self.large {
            large.end += count;
            return;
        }
        self.end += count;
        debug_assert!(self.end <= self.buffer.len(), "more than there was room for");
        if self.end == self.buffer.len() {
            self.read_bytes = (self.read_bytes * 2).min(MOST_READ_BYTES);
        }
    }

    /// The next message, if it is complete.
    pub(crate) fn next(&mut self) -> Result<Option<Message>, Garbage> {
        if self.large.is_some() {
            return self.next_large();
        }
        let Some(Announced { message: length, payload }) = self.announced()? else {
            return Ok(None);
        };
        let from = self.start + HEADER_BYTES;
        let Some(body) = self.buffer[..self.end].get(from..from + length) else { return Ok(None) };
        let behind = from + length;
        let whole = self.buffer[..self.end].get(behind..behind + payload);
        if whole.is_none() && payload < LARGE_BYTES {
            return Ok(None);
        }
        let (mut message, rest) = match postcard::take_from_bytes::<Message>(body) {
            Ok(taken) => taken,
            Err(error) => return Err(Garbage::Malformed(error)),
        };
        if !rest.is_empty() {
            return Err(Garbage::Trailing(rest.len()));
        }
        if let Some(bytes) = whole {
            message.attach(bytes.to_vec())?;
            self.start = behind + payload;
            return Ok(Some(message));
        }
        self.large = Some(Large::begun(message, payload, &self.buffer[behind..self.end]));
        self.start = self.end;
        Ok(None)
    }

    /// Whether a frame has begun and not ended: an end of the stream now is a broken one.
    pub(crate) fn is_mid_frame(&self) -> bool {
        self.start < self.end || self.large.is_some()
    }

    fn next_large(&mut self) -> Result<Option<Message>, Garbage> {
        match self.large.take_if(|large| large.end == large.announced) {
            Some(Large { mut message, payload, .. }) => {
                message.attach(payload)?;
                Ok(Some(message))
            }
            None => Ok(None),
        }
    }

    /// The peer chooses a frame's length; memory is given for it as its bytes really come, no more than has come already.
    fn make_room(&mut self) {
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        let wanted = self.missing_bytes().clamp(self.read_bytes, self.read_bytes.max(self.end));
        if self.buffer.len() - self.end < wanted {
            self.buffer.resize(self.end + wanted, 0);
        }
    }

    fn reset(&mut self) {
        (self.start, self.end) = (0, 0);
        if self.buffer.len() > KEEP_BYTES {
            self.buffer = Vec::new();
        }
    }

    fn announced(&self) -> Result<Option<Announced>, Garbage> {
        let Some(header) = self.buffer[self.start..self.end].first_chunk::<HEADER_BYTES>() else {
            return Ok(None);
        };
        let [a, b, c, d, e, f, g, h] = *header;
        let message = u32::from_le_bytes([a, b, c, d]) as usize;
        let payload = u32::from_le_bytes([e, f, g, h]) as usize;
        if message + payload > FRAME_LIMIT_BYTES {
            return Err(Garbage::TooLong(message + payload));
        }
        Ok(Some(Announced { message, payload }))
    }

    /// How many bytes of the frame that has begun are still to come to the buffer, if that is known.
    fn missing_bytes(&self) -> usize {
        let have = self.end - self.start;
        match self.announced() {
            Ok(Some(Announced { message, payload })) if payload < LARGE_BYTES => {
                (HEADER_BYTES + message + payload).saturating_sub(have)
            }
            Ok(Some(Announced { message, .. })) => (HEADER_BYTES + message).saturating_sub(have),
            Ok(None) | Err(_) => 0,
        }
    }
}

/// The lengths of a frame, in bytes.
struct Announced {
    message: usize,
    payload: usize,
}

impl Large {
    fn begun(message: Message, announced: usize, come: &[u8]) -> Large {
        // Never less than has come: what is announced is more.
        let mut payload = vec![0; announced.min(TRUST_BYTES.max(come.len()))];
        payload[..come.len()].copy_from_slice(come);
        Large { message, payload, end: come.len(), announced }
    }

    fn room(&mut self) -> &mut [u8] {
        if self.end == self.payload.len() {
            self.payload.resize((self.end * 2).min(self.announced), 0);
        }
        &mut self.payload[self.end..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;
    use uuid::Uuid;

    fn actor() -> ActorId {
        ActorId { name: "a".to_owned(), uuid: Uuid::from_u128(7) }
    }

    fn call(id: u64, bytes: usize) -> Message {
        let args = Payload::Bytes(vec![9; bytes]);
        Dialogue::Call { id, function: Cow::Borrowed("f"), fingerprint: 6, args }.into()
    }

    /// One of each, so that a new message is not forgotten: `is_control` fails to compile until it is decided there.
    fn samples() -> Vec<Message> {
        vec![
            Message::hello(actor(), 1),
            Message::Spec(Box::new(Spec {
                parent: actor(),
                incarnation: 3,
                vars: Vars {
                    backend: Backend::Exec,
                    timings: Timings::default(),
                    variables: Variables::new().with(&7_u8),
                },
                exposure: vec![Cow::Borrowed("f"), Cow::Borrowed("g")],
                state: Some((Cow::Borrowed("new"), Payload::Bytes(vec![1, 2]))),
                life: Life::OneShot,
            })),
            Message::Ready,
            Message::BootFailed(BootFailure::Unknown { function: "f".to_owned() }),
            call(1, 64),
            Dialogue::Return { id: 1, value: Payload::Bytes(vec![]) }.into(),
            Dialogue::Failed { id: 1, failure: Failure::Cancelled { by: actor() } }.into(),
            Dialogue::CancelCall { id: 1 }.into(),
            Dialogue::Open {
                id: 2,
                function: Cow::Borrowed("c"),
                fingerprint: u64::MAX,
                args: Payload::Bytes(vec![]),
                terms: Terms { capacity: 64, overrun: Overrun::Wait },
            }
            .into(),
            Dialogue::Started { id: 2, value: Payload::Bytes(vec![1]) }.into(),
            Dialogue::Item { id: 2, from: Side::Opener, item: Payload::Bytes(vec![2]) }.into(),
            Dialogue::Credit { id: 2, from: Side::Server, count: 32 }.into(),
            Dialogue::EndOfStream { id: 2, from: Side::Server }.into(),
            Dialogue::CancelContext { id: 2, by: actor() }.into(),
            Dialogue::CancelHeard { id: 2 }.into(),
            Dialogue::Failed { id: 2, failure: Failure::NotStarted }.into(),
            Message::CancelActor { by: actor(), within: Duration::from_millis(1600) },
            Message::CancelAck,
            Message::Progress,
            Message::Farewell { failure: Some(RemoteError::returned(&actor(), Error::NoRuntime)) },
        ]
    }

    fn feed(decoder: &mut Decoder, bytes: &[u8]) -> Result<Vec<Message>, Garbage> {
        let mut messages = Vec::new();
        let mut rest = bytes;
        while !rest.is_empty() {
            let room = decoder.room();
            let count = room.len().min(rest.len());
            room[..count].copy_from_slice(&rest[..count]);
            decoder.filled(count);
            rest = &rest[count..];
            while let Some(message) = decoder.next()? {
                messages.push(message);
            }
        }
        Ok(messages)
    }

    fn frames(messages: Vec<Message>) -> Vec<u8> {
        let mut out = Vec::new();
        for message in messages {
            let large = encode(message, &mut out).unwrap();
            out.extend(large.into_iter().flatten());
        }
        out
    }

    #[test]
    fn every_message_comes_back_in_order() {
        let sent = samples();
        let words = |messages: &[Message]| format!("{messages:?}");
        let expected = words(&sent);
        let received = feed(&mut Decoder::default(), &frames(sent)).unwrap();
        assert_eq!(words(&received), expected);
    }

    #[test]
    fn frames_may_arrive_in_any_pieces() {
        let bytes = frames(samples());
        for piece in [1, 2, 3, 5, 7, 64] {
            let mut decoder = Decoder::default();
            let received: usize =
                bytes.chunks(piece).map(|chunk| feed(&mut decoder, chunk).unwrap().len()).sum();
            assert_eq!(received, samples().len(), "in pieces of {piece}");
            assert!(!decoder.is_mid_frame());
        }
    }

    #[test]
    fn a_large_frame_is_decoded_and_its_buffer_given_back() {
        let bytes = frames(vec![call(1, 4 << 20)]);
        let mut decoder = Decoder::default();
        let mut received = 0;
        for chunk in bytes.chunks(MOST_READ_BYTES) {
            received += feed(&mut decoder, chunk).unwrap().len();
        }
        assert_eq!(received, 1);
        assert!(decoder.room().len() <= KEEP_BYTES);
    }

    #[test]
    fn an_announced_length_alone_reserves_little_memory() {
        let most = u32::try_from(FRAME_LIMIT_BYTES).unwrap();
        let mut decoder = Decoder::default();
        let header = [most.to_le_bytes(), [0; 4]].concat();
        assert!(feed(&mut decoder, &header).unwrap().is_empty());
        assert!(decoder.room().len() <= FIRST_READ_BYTES);

        let mut large = frames(vec![call(1, LARGE_BYTES)]);
        large.truncate(large.len() - LARGE_BYTES);
        large[4..8].copy_from_slice(&(most - 100).to_le_bytes());
        let mut decoder = Decoder::default();
        assert!(feed(&mut decoder, &large).unwrap().is_empty());
        assert_eq!(decoder.room().len(), TRUST_BYTES);
    }

    #[test]
    fn payloads_of_every_size_come_back_in_any_pieces() {
        for bytes in [0, 1, LARGE_BYTES - 1, LARGE_BYTES, LARGE_BYTES + 1, 3 * TRUST_BYTES + 5] {
            for piece in [7, 1000, 100_000] {
                let sent = frames(vec![call(1, bytes), Message::Ready, call(2, bytes)]);
                let mut decoder = Decoder::default();
                let mut received = Vec::new();
                for chunk in sent.chunks(piece.max(bytes / 1000)) {
                    received.extend(feed(&mut decoder, chunk).unwrap());
                }
                let weights: Vec<usize> = received
                    .iter()
                    .map(|message| message.weight_bytes() - size_of::<Message>())
                    .collect();
                assert_eq!(weights, [bytes, 0, bytes], "in pieces of {piece}");
                assert!(!decoder.is_mid_frame());
            }
        }
    }

    #[test]
    fn garbage_is_told_apart() {
        let most = u32::try_from(FRAME_LIMIT_BYTES).unwrap();
        let too_long = [most.to_le_bytes(), 1_u32.to_le_bytes()].concat();
        assert_eq!(
            feed(&mut Decoder::default(), &too_long).unwrap_err(),
            Garbage::TooLong(FRAME_LIMIT_BYTES + 1)
        );

        let no_message = [1, 0, 0, 0, 0, 0, 0, 0, 0xff];
        assert!(matches!(feed(&mut Decoder::default(), &no_message), Err(Garbage::Malformed(_))));

        let mut trailing = frames(vec![Message::Ready]);
        trailing.push(0);
        trailing[0] += 1;
        assert_eq!(feed(&mut Decoder::default(), &trailing).unwrap_err(), Garbage::Trailing(1));

        let mut payload_of_none = frames(vec![Message::Ready]);
        payload_of_none[4] = 1;
        payload_of_none.push(0);
        assert_eq!(
            feed(&mut Decoder::default(), &payload_of_none).unwrap_err(),
            Garbage::Trailing(1)
        );
    }

    #[test]
    fn no_bytes_make_the_decoder_panic() {
        let valid = frames(samples());
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut random = move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            usize::try_from(state >> 33).unwrap()
        };
        for _ in 0..20_000 {
            let mut bytes = valid.clone();
            for _ in 0..=random() % 8 {
                let at = random() % bytes.len();
                bytes[at] = u8::try_from(random() % 256).unwrap();
            }
            bytes.truncate(random() % (bytes.len() + 1));
            let _verdict = feed(&mut Decoder::default(), &bytes);
        }
    }

    #[test]
    fn a_value_too_large_for_a_frame_is_refused_by_size() {
        let refused = Payload::pack(vec![0_u8; FRAME_LIMIT_BYTES], Form::Bytes).unwrap_err();
        assert!(matches!(refused, Unpackable::Size(_)));
    }

    #[test]
    fn a_value_of_another_type_is_refused() {
        let packed = Payload::pack("text".to_owned(), Form::Value).unwrap();
        assert!(matches!(packed.unpack::<u32>(), Err(Unpackable::Type(_))));
    }
}
