//! An end of a channel whose other end is in another process, or on its way to one: a socket, and a few numbers.
//!
//! A packet is a byte that tells its kind and then a piece of an item, or a [`Word`]. An item that does not fit one packet goes in
//! several; one that was begun and not finished is forgotten when the next begins. So a sender may stop anywhere.

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;

use nix::errno::Errno;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::over::{Holder, Over, Parting};
use crate::error::{ActorId, Error, Result};
use crate::ipc::{PACKET_BYTES, Packet, Packets};
use crate::msg::{FRAME_LIMIT_BYTES, Form, Payload};
use crate::parcel;

/// Where the other end is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Place {
    At(Holder),
    /// It was sent on, and has not said where it is.
    Between {
        last: ActorId,
    },
}

/// What is said beside items.
#[derive(Debug, Serialize, Deserialize)]
enum Word {
    /// To the sender: so many more items may be sent.
    Credit(u32),
    /// This end has arrived.
    Held(Holder),
    /// This end is about to be sent to another actor.
    SentOn,
    Parting(Parting),
}

/// The first byte of a packet.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// An item.
    Whole = 0,
    /// The first piece of an item.
    First = 1,
    /// A piece that is neither the first nor the last.
    Middle = 2,
    Last = 3,
    Word = 4,
}

impl Kind {
    fn of(byte: u8) -> Option<Kind> {
        [Kind::Whole, Kind::First, Kind::Middle, Kind::Last, Kind::Word]
            .into_iter()
            .find(|kind| *kind as u8 == byte)
    }
}

/// So much of an item goes into a packet.
const PIECE_BYTES: usize = PACKET_BYTES - 1;

/// What both ends are.
struct Wire {
    packets: Packets,
    capacity: u32,
    /// Of the other end.
    place: Place,
    over: Option<Over>,
}

/// A [`Wire`] on its way, beside its descriptor.
#[derive(Serialize, Deserialize)]
struct WireTicket {
    /// The descriptor's number.
    end: u32,
    capacity: u32,
    place: Place,
    over: Option<Over>,
}

pub(super) struct FarSender {
    wire: Wire,
    credit: u32,
    greeting: Greeting,
}

/// Whether the receiver was told who holds this end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Greeting {
    Said,
    /// There was no room: it is said before the next item.
    Due,
}

pub(super) struct FarReceiver<T> {
    wire: Wire,
    /// What came before the socket was there.
    waiting: VecDeque<T>,
    /// What has come of an item.
    pieces: Vec<u8>,
    /// Items taken of which the sender was not told.
    owed: u32,
}

/// A [`FarSender`] on its way.
#[derive(Serialize, Deserialize)]
pub(super) struct SenderTicket {
    wire: WireTicket,
    credit: u32,
}

/// A [`FarReceiver`] on its way.
#[derive(Serialize, Deserialize)]
pub(super) struct ReceiverTicket<T> {
    wire: WireTicket,
    waiting: VecDeque<T>,
    pieces: Vec<u8>,
    owed: u32,
}

impl FarSender {
    pub(super) fn new(fd: OwnedFd, capacity: u32, credit: u32, place: Place) -> FarSender {
        FarSender { wire: Wire::new(fd, capacity, place), credit, greeting: Greeting::Said }
    }

    pub(super) fn set_over(&mut self, over: Over) {
        self.wire.over = Some(over);
    }

    pub(super) async fn send<T: Serialize + Send + 'static>(&mut self, item: T) -> Result<()> {
        let unsendable = |reason: String| Error::Unsendable { what: item_of::<T>(), reason };
        let item =
            Payload::pack(item, Form::Bytes).map_err(|error| unsendable(error.to_string()))?;
        let (bytes, ends) =
            item.into_parts().ok_or_else(|| unsendable("it was packed for a thread".to_owned()))?;
        self.wait_credit().await?;
        if self.write(&bytes, &ends).await.is_err() {
            return Err(self.why().to_error());
        }
        self.credit = self.credit.saturating_sub(1);
        Ok(())
    }

    async fn wait_credit(&mut self) -> Result<()> {
        loop {
            if let Some(over) = &self.wire.over {
                return Err(over.to_error());
            }
            if self.credit > 0 {
                return Ok(());
            }
            let received = self.wire.packets.recv().await;
            self.on_received(received);
        }
    }

    async fn write(&mut self, bytes: &[u8], ends: &[OwnedFd]) -> io::Result<()> {
        if self.greeting == Greeting::Due {
            self.wire.packets.send(&packet_of(&Word::Held(Holder::here()))?, &[]).await?;
            self.greeting = Greeting::Said;
        }
        let mut pieces = bytes.chunks(PIECE_BYTES).peekable();
        let mut kind = match pieces.peek() {
            Some(piece) if piece.len() < bytes.len() => Kind::First,
            // An item of no bytes is one, too.
            Some(_) | None => {
                return self.wire.packets.send(&packet(Kind::Whole, bytes), ends).await;
            }
        };
        while let Some(piece) = pieces.next() {
            // Descriptors go with the last piece: the receiver keeps none while it waits for more.
            let (this, beside) = match pieces.peek() {
                Some(_) => (kind, [].as_slice()),
                None => (Kind::Last, ends),
            };
            self.wire.packets.send(&packet(this, piece), beside).await?;
            kind = Kind::Middle;
        }
        Ok(())
    }

    fn on_received(&mut self, received: io::Result<Option<Packet>>) {
        match received {
            Ok(Some(packet)) => match Word::of(&packet) {
                Some(Word::Credit(count)) => {
                    self.credit = self.credit.saturating_add(count).min(self.wire.capacity);
                }
                Some(word @ (Word::Held(_) | Word::SentOn | Word::Parting(_))) => {
                    self.wire.on_word(word);
                }
                None => self.wire.on_garbage(),
            },
            Ok(None) => self.wire.on_end(),
            Err(error) => self.wire.on_refused(&error),
        }
    }

    /// Nothing can be sent: what the other end has said of that, or its end.
    fn why(&mut self) -> Over {
        loop {
            if let Some(over) = &self.wire.over {
                return over.clone();
            }
            let received = self.wire.packets.try_recv().map_err(io::Error::from);
            self.on_received(received);
        }
    }

    pub(super) fn into_ticket(self) -> io::Result<SenderTicket> {
        Ok(SenderTicket { wire: self.wire.into_ticket()?, credit: self.credit })
    }

    pub(super) fn of_ticket(ticket: SenderTicket) -> io::Result<FarSender> {
        let wire = Wire::of_ticket(ticket.wire)?;
        let greeting = match wire.say(&Word::Held(Holder::here())) {
            Ok(()) => Greeting::Said,
            Err(_) => Greeting::Due,
        };
        Ok(FarSender { wire, credit: ticket.credit, greeting })
    }

    pub(super) fn part(self, parting: Parting) {
        self.wire.part(parting);
    }
}

impl<T> FarReceiver<T> {
    pub(super) fn new(
        fd: OwnedFd,
        capacity: u32,
        waiting: VecDeque<T>,
        place: Place,
    ) -> FarReceiver<T> {
        let wire = Wire::new(fd, capacity, place);
        FarReceiver { wire, waiting, pieces: Vec::new(), owed: 0 }
    }

    pub(super) fn set_over(&mut self, over: Over) {
        self.wire.over = Some(over);
    }

    pub(super) async fn recv(&mut self) -> Result<Option<T>>
    where
        T: DeserializeOwned + 'static,
    {
        loop {
            if let Some(item) = self.waiting.pop_front() {
                self.on_taken();
                return Ok(Some(item));
            }
            if let Some(over) = &self.wire.over {
                return over.to_end();
            }
            let item = match self.wire.packets.recv().await {
                Ok(Some(packet)) => self.on_packet(packet),
                Ok(None) => {
                    self.wire.on_end();
                    None
                }
                Err(error) => {
                    self.wire.on_refused(&error);
                    None
                }
            };
            if let Some(item) = item {
                self.on_taken();
                let wrong = |reason| Error::WrongType { what: item_of::<T>(), reason };
                return item.unpack().map(Some).map_err(|error| wrong(error.to_string()));
            }
        }
    }

    /// The item that is complete with it.
    fn on_packet(&mut self, packet: Packet) -> Option<Payload> {
        let Some((kind, piece)) = kind_of(&packet) else {
            self.wire.on_garbage();
            return None;
        };
        match kind {
            Kind::Word => {
                match Word::of(&packet) {
                    Some(word @ (Word::Held(_) | Word::SentOn | Word::Parting(_))) => {
                        self.wire.on_word(word);
                    }
                    Some(Word::Credit(_)) | None => self.wire.on_garbage(),
                }
                return None;
            }
            Kind::Whole | Kind::First => self.pieces.clear(),
            Kind::Middle | Kind::Last => {}
        }
        if self.pieces.len() + piece.len() > FRAME_LIMIT_BYTES {
            self.wire.on_garbage();
            return None;
        }
        self.pieces.extend_from_slice(piece);
        match kind {
            Kind::Whole | Kind::Last => {
                Some(Payload::of_parts(std::mem::take(&mut self.pieces), packet.ends))
            }
            Kind::First | Kind::Middle | Kind::Word => None,
        }
    }

    /// The sender is told when it has used up half of what it may send: it still has the other half to go on with.
    fn on_taken(&mut self) {
        self.owed = self.owed.saturating_add(1);
        // One that is gone needs none.
        if self.owed >= self.wire.capacity.div_ceil(2)
            && self.wire.say(&Word::Credit(self.owed)).is_ok()
        {
            self.owed = 0;
        }
    }

    pub(super) fn into_ticket(self) -> io::Result<ReceiverTicket<T>> {
        let FarReceiver { wire, waiting, pieces, owed } = self;
        Ok(ReceiverTicket { wire: wire.into_ticket()?, waiting, pieces, owed })
    }

    pub(super) fn of_ticket(ticket: ReceiverTicket<T>) -> io::Result<FarReceiver<T>> {
        let ReceiverTicket { wire, waiting, pieces, owed } = ticket;
        let wire = Wire::of_ticket(wire)?;
        // A sender that is gone needs not know; there is always room, because a sender reads before it has no credit.
        let _said = wire.say(&Word::Held(Holder::here()));
        Ok(FarReceiver { wire, waiting, pieces, owed })
    }

    pub(super) fn part(self, parting: Parting) {
        self.wire.part(parting);
    }
}

impl Wire {
    fn new(fd: OwnedFd, capacity: u32, place: Place) -> Wire {
        Wire { packets: Packets::new(fd), capacity, place, over: None }
    }

    fn on_word(&mut self, word: Word) {
        match word {
            Word::Held(holder) => self.place = Place::At(holder),
            Word::SentOn => {
                let last = self.place.actor().clone();
                self.place = Place::Between { last };
            }
            Word::Parting(parting) => self.over = Some(Over::Parted(parting)),
            // For the sender, who counts it.
            Word::Credit(_) => {}
        }
    }

    /// The other end is closed and has said nothing of that.
    fn on_end(&mut self) {
        self.over = Some(match &self.place {
            Place::At(holder) => Over::Died(holder.clone()),
            Place::Between { last } => Over::Lost {
                actor: last.clone(),
                reason: "the other end of the channel was sent on, and has not arrived".to_owned(),
            },
        });
    }

    fn on_garbage(&mut self) {
        self.lose("the other end of the channel sent garbage".to_owned());
    }

    fn on_refused(&mut self, error: &io::Error) {
        self.lose(format!("the channel's socket: {error}"));
    }

    fn lose(&mut self, reason: String) {
        self.over = Some(Over::Lost { actor: self.place.actor().clone(), reason });
    }

    fn say(&self, word: &Word) -> Result<(), Errno> {
        let packet = packet_of(word).map_err(|_| Errno::EINVAL)?;
        self.packets.try_send(&packet)
    }

    fn part(self, parting: Parting) {
        self.say_last(&Word::Parting(parting));
    }

    /// The other end may be gone. If it lives and there is no room, as when somebody else has filled the last, it sees a death.
    fn say_last(&self, word: &Word) {
        if let Ok(packet) = packet_of(word) {
            let _said = self.packets.send_last(&packet);
        }
    }

    fn into_ticket(self) -> io::Result<WireTicket> {
        self.say_last(&Word::SentOn);
        let Wire { packets, capacity, place, over } = self;
        let fd = packets.into_fd().ok_or_else(|| io::Error::other("its socket is lost"))?;
        let end = parcel::enclose(fd).map_err(io::Error::other)?;
        Ok(WireTicket { end, capacity, place, over })
    }

    fn of_ticket(ticket: WireTicket) -> io::Result<Wire> {
        let WireTicket { end, capacity, place, over } = ticket;
        let fd = parcel::take_out(end).map_err(io::Error::other)?;
        let packets = Packets::new(fd);
        packets.renew();
        Ok(Wire { packets, capacity, place, over })
    }
}

impl Place {
    fn actor(&self) -> &ActorId {
        match self {
            Place::At(holder) => &holder.actor,
            Place::Between { last } => last,
        }
    }
}

impl Word {
    fn of(packet: &Packet) -> Option<Word> {
        match kind_of(packet)? {
            (Kind::Word, bytes) => postcard::from_bytes(bytes).ok(),
            (Kind::Whole | Kind::First | Kind::Middle | Kind::Last, _) => None,
        }
    }
}

fn kind_of(packet: &Packet) -> Option<(Kind, &[u8])> {
    let (kind, rest) = packet.bytes.split_first()?;
    Kind::of(*kind).map(|kind| (kind, rest))
}

fn packet(kind: Kind, piece: &[u8]) -> Vec<u8> {
    let mut packet = Vec::with_capacity(1 + piece.len());
    packet.push(kind as u8);
    packet.extend_from_slice(piece);
    packet
}

fn packet_of(word: &Word) -> io::Result<Vec<u8>> {
    let bytes = postcard::to_stdvec(word).map_err(io::Error::other)?;
    Ok(packet(Kind::Word, &bytes))
}

/// As it is called in errors.
pub(super) fn item_of<T>() -> String {
    format!("an item of a channel of {}", std::any::type_name::<T>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ipc::packet_pair;

    fn run<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
    }

    /// A receiver, and the hand-made sender at its other end.
    fn receiver_of<T>() -> (FarReceiver<T>, Packets) {
        let (own, theirs) = packet_pair().unwrap();
        let place = Place::At(Holder::here());
        (FarReceiver::new(own, 4, VecDeque::new(), place), Packets::new(theirs))
    }

    fn sender() -> (FarSender, Packets) {
        let (own, theirs) = packet_pair().unwrap();
        (FarSender::new(own, 4, 4, Place::At(Holder::here())), Packets::new(theirs))
    }

    fn say(peer: &Packets, kind: Kind, piece: &[u8]) {
        peer.try_send(&packet(kind, piece)).unwrap();
    }

    #[test]
    fn an_item_of_another_type_is_an_error_and_the_next_is_received() {
        run(async {
            let (mut receiver, peer) = receiver_of::<String>();
            say(&peer, Kind::Whole, &[200, 1, 2]);
            say(&peer, Kind::Whole, &postcard::to_stdvec("good").unwrap());
            match receiver.recv().await {
                Err(Error::WrongType { what, .. }) => assert!(what.contains("String"), "{what}"),
                other => panic!("{other:?}"),
            }
            assert_eq!(receiver.recv().await.unwrap().as_deref(), Some("good"));
        });
    }

    #[test]
    fn garbage_loses_the_channel_and_nothing_else() {
        let nonsense: [&[u8]; 4] = [&[77], &[4], &[4, 99, 99], &[4, 0, 1]];
        for packet in nonsense {
            run(async {
                let (mut receiver, peer) = receiver_of::<u8>();
                peer.try_send(packet).unwrap();
                for _ in 0..2 {
                    let told = receiver.recv().await;
                    assert!(matches!(told, Err(Error::ChannelLost { .. })), "{packet:?} {told:?}");
                }
            });
        }
        run(async {
            let (mut sender, peer) = sender();
            say(&peer, Kind::Whole, b"a receiver sends no items");
            sender.credit = 0;
            let told = sender.send(1_u8).await;
            assert!(matches!(told, Err(Error::ChannelLost { .. })), "{told:?}");
        });
    }

    #[test]
    fn an_item_that_was_not_finished_is_forgotten() {
        run(async {
            let (mut receiver, peer) = receiver_of::<Vec<u8>>();
            say(&peer, Kind::First, b"forgot");
            say(&peer, Kind::Middle, b"ten");
            say(&peer, Kind::First, b"wh");
            say(&peer, Kind::Last, b"ole");
            assert_eq!(receiver.recv().await.unwrap().as_deref(), Some(b"whole".as_slice()));
        });
    }

    #[test]
    fn a_peer_cannot_widen_the_window() {
        run(async {
            let (mut sender, peer) = sender();
            for _ in 0..2 {
                say(&peer, Kind::Word, &postcard::to_stdvec(&Word::Credit(u32::MAX)).unwrap());
                let received = sender.wire.packets.recv().await;
                sender.on_received(received);
            }
            assert_eq!(sender.credit, 4);
        });
    }

    /// The other end has said nothing when it goes: it died where it was, or was lost on its way.
    #[test]
    fn an_end_without_a_word_is_no_clean_one() {
        run(async {
            let (mut receiver, peer) = receiver_of::<u8>();
            say(&peer, Kind::Whole, &[1]);
            drop(peer);
            assert_eq!(receiver.recv().await.unwrap(), Some(1));
            assert!(matches!(receiver.recv().await, Err(Error::ActorDied { .. })));
            let (mut receiver, peer) = receiver_of::<u8>();
            say(&peer, Kind::Word, &postcard::to_stdvec(&Word::SentOn).unwrap());
            drop(peer);
            assert!(matches!(receiver.recv().await, Err(Error::ChannelLost { .. })));
            let (mut sender, peer) = sender();
            drop(peer);
            assert!(matches!(sender.send(1_u8).await, Err(Error::ActorDied { .. })));
        });
    }
}
