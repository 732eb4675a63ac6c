//! Follows the frames that are read from a WebSocket's stream.
//!
//! Whoever replaces the buffers of a WebSocket has to know that they are empty, which it does not say itself.

/// The longest part of a frame's head that tells its length (RFC 6455, section 5.2).
const HEAD_BYTES_MAX: usize = 10;
const MASK_BYTES: u64 = 4;

/// How far the frames have come.
#[derive(Default)]
pub(super) struct Frames {
    /// The beginning of the next frame, as far as it has been read and tells its length.
    head: [u8; HEAD_BYTES_MAX],
    head_length: usize,
    /// The bytes that are missing of a frame whose length is known.
    missing: u64,
    /// The frame that is read now ends a message, or is one of control.
    ends_message: bool,
    /// A message has begun with frames that do not end it.
    is_within_message: bool,
    /// The messages that were read whole, and have not been returned.
    unreturned: usize,
}

impl Frames {
    /// Notes bytes that were read.
    pub(super) fn read(&mut self, mut bytes: &[u8]) {
        while let [first, rest @ ..] = bytes {
            if self.missing > 0 {
                let skipped = usize::try_from(self.missing).unwrap_or(usize::MAX);
                let skipped = skipped.min(bytes.len());
                self.missing -= skipped as u64;
                bytes = &bytes[skipped..];
            } else {
                self.head[self.head_length] = *first;
                self.head_length += 1;
                bytes = rest;
                match self.length_after_head() {
                    Some(length) => self.begin(length),
                    None => continue,
                }
            }
            if self.missing == 0 {
                self.unreturned += usize::from(self.ends_message);
            }
        }
    }

    /// Notes that the WebSocket has returned a message.
    pub(super) fn has_come(&mut self) {
        self.unreturned = self.unreturned.saturating_sub(1);
    }

    /// Whether all that was read has been returned.
    pub(super) fn is_between_messages(&self) -> bool {
        self.head_length == 0
            && self.missing == 0
            && self.unreturned == 0
            && !self.is_within_message
    }

    /// The bytes of the frame that follow the head, once that is complete.
    fn length_after_head(&self) -> Option<u64> {
        let head = &self.head[..self.head_length];
        let second = head.get(1)?;
        let payload = match second & 0x7f {
            126 => u64::from(u16::from_be_bytes(*head.get(2..)?.first_chunk()?)),
            127 => u64::from_be_bytes(*head.get(2..)?.first_chunk()?),
            short => short.into(),
        };
        let mask = if second & 0x80 == 0 { 0 } else { MASK_BYTES };
        Some(payload.saturating_add(mask))
    }

    fn begin(&mut self, length: u64) {
        let (is_final, is_control) = (self.head[0] & 0x80 != 0, self.head[0] & 0x08 != 0);
        self.missing = length;
        self.head_length = 0;
        self.ends_message = is_final || is_control;
        if !is_control {
            self.is_within_message = !is_final;
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio_tungstenite::tungstenite::protocol::frame::{
        Frame, FrameHeader,
        coding::{Control, Data, OpCode},
    };

    use super::*;

    /// The bytes of a client's frame.
    fn frame(payload: usize, opcode: OpCode, is_final: bool) -> Vec<u8> {
        let header = FrameHeader {
            is_final,
            opcode,
            mask: Some([0xff; 4]),
            ..FrameHeader::default()
        };
        let mut bytes = Vec::new();
        let frame = Frame::from_payload(header, vec![0x8f; payload].into());
        frame.format(&mut bytes).expect("a frame");
        bytes
    }

    #[test]
    fn only_the_end_of_a_message_that_was_returned_is_between_messages() {
        let (text, more) = (OpCode::Data(Data::Text), OpCode::Data(Data::Continue));
        let ping = OpCode::Control(Control::Ping);
        for length in [0, 1, 125, 126, 65_535, 65_536, 70_000] {
            let message = [
                frame(length, text, false),
                frame(4, ping, true),
                frame(length, more, true),
            ];
            let whole = message.concat();
            for step in [1, 2, 3, 7, 1_000, whole.len()] {
                let mut frames = Frames::default();
                let mut read = 0;
                for piece in whole.chunks(step) {
                    assert_eq!(frames.is_between_messages(), read == 0, "{length} {read}");
                    frames.read(piece);
                    read += piece.len();
                }
                assert!(!frames.is_between_messages(), "nothing has been returned");
                frames.has_come();
                assert!(!frames.is_between_messages(), "only the ping has");
                frames.has_come();
                assert!(frames.is_between_messages());
            }
        }
    }
}
