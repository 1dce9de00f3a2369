//! Server-sent events, read as they arrive: any number of bytes at a time, in bounded memory.
//!
//! Follows the event stream format of the HTML standard (§9.2.6).

use std::time::Duration;

/// One event of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerEvent {
    /// Its kind; `message` where the server names none.
    pub name: String,
    /// Its content; the lines are joined by line feeds.
    pub data: String,
    /// The last id that the stream gave, with this event or before; empty if it gave none.
    pub id: String,
}

/// An event is larger than the reader allows; the stream must be closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the stream has an event of more than {bytes_max} bytes")]
pub struct EventTooLarge {
    /// The most that is allowed.
    pub bytes_max: usize,
}

/// Reads the events of one connection.
///
/// Bytes that are not UTF-8 are read as U+FFFD, and an event that the connection's end cuts off is
/// none, as the standard says.
///
/// INVARIANT: what is kept between two calls is at most `bytes_max` bytes, ids not counted, which
/// have at most as many again.
#[derive(Debug)]
pub struct EventDecoder {
    bytes_max: usize,
    line: Vec<u8>,
    name: String,
    data: String,
    /// The id that the next event carries.
    id: String,
    /// The id of the last event that ended.
    last_id: String,
    retry: Option<Duration>,
    is_first_line: bool,
    /// The last byte was a carriage return: a line feed that follows belongs to it.
    after_return: bool,
    failed: bool,
}

impl EventDecoder {
    /// Makes a reader of a new connection; an event, its comments and names have at most `bytes_max`
    /// bytes.
    pub fn new(bytes_max: usize) -> Self {
        Self {
            bytes_max,
            line: Vec::new(),
            name: String::new(),
            data: String::new(),
            id: String::new(),
            last_id: String::new(),
            retry: None,
            is_first_line: true,
            after_return: false,
            failed: false,
        }
    }

    /// Makes a reader of a connection that goes on after the event `last_id`.
    #[must_use]
    pub fn after(mut self, last_id: &str) -> Self {
        last_id.clone_into(&mut self.id);
        last_id.clone_into(&mut self.last_id);
        self
    }

    /// What to send as `Last-Event-ID` when connecting again; empty for none.
    pub fn last_id(&self) -> &str {
        &self.last_id
    }

    /// How long the server asks to wait before connecting again; bound it, for it is any number.
    pub fn retry(&self) -> Option<Duration> {
        self.retry
    }

    /// Reads what arrived, and returns the events that end in it.
    ///
    /// # Errors
    /// [`EventTooLarge`], now and for ever after: close the connection. The events that ended in the
    /// same bytes before it are lost, and [`Self::last_id`] does not count them as seen.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Vec<ServerEvent>, EventTooLarge> {
        let mut events = Vec::new();
        let before = self.last_id.clone();
        let done = self.read(bytes, &mut events);
        if done.is_err() {
            self.failed = true;
            self.last_id = before;
            self.line = Vec::new();
            self.data = String::new();
        }
        done.map(|()| events)
    }

    fn read(
        &mut self,
        mut bytes: &[u8],
        events: &mut Vec<ServerEvent>,
    ) -> Result<(), EventTooLarge> {
        if self.failed {
            return Err(self.too_large());
        }
        while !bytes.is_empty() {
            if std::mem::take(&mut self.after_return)
                && let Some(rest) = bytes.strip_prefix(b"\n")
            {
                bytes = rest;
                continue;
            }
            let end = bytes.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
            let (part, rest) = bytes.split_at(end.unwrap_or(bytes.len()));
            let kept = self.line.len() + self.data.len() + self.name.len();
            if kept + part.len() > self.bytes_max {
                return Err(self.too_large());
            }
            self.line.extend_from_slice(part);
            bytes = rest;
            if let Some((ending, rest)) = rest.split_first() {
                bytes = rest;
                self.after_return = *ending == b'\r';
                events.extend(self.end_line());
            }
        }
        Ok(())
    }

    fn too_large(&self) -> EventTooLarge {
        EventTooLarge {
            bytes_max: self.bytes_max,
        }
    }

    fn end_line(&mut self) -> Option<ServerEvent> {
        let line = std::mem::take(&mut self.line);
        let mut line = line.as_slice();
        if std::mem::take(&mut self.is_first_line) {
            line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line);
        }
        if line.is_empty() {
            return self.end_event();
        }
        let text = String::from_utf8_lossy(line);
        let (field, value) = match text.split_once(':') {
            Some((field, value)) => (field, value.strip_prefix(' ').unwrap_or(value)),
            None => (&*text, ""),
        };
        match field {
            "event" => value.clone_into(&mut self.name),
            "data" => {
                self.data.push_str(value);
                self.data.push('\n');
            }
            "id" if !value.contains('\0') => value.clone_into(&mut self.id),
            "retry" if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) => {
                let asked = value.parse().ok().map(Duration::from_millis);
                self.retry = asked.or(self.retry);
            }
            // Comments have an empty field; fields that are not known are passed over.
            _ => {}
        }
        None
    }

    fn end_event(&mut self) -> Option<ServerEvent> {
        self.id.clone_into(&mut self.last_id);
        let name = std::mem::take(&mut self.name);
        let mut data = std::mem::take(&mut self.data);
        // Without a line of data there is no event, but its id counts.
        data.pop()?;
        Some(ServerEvent {
            name: if name.is_empty() {
                "message".to_owned()
            } else {
                name
            },
            data,
            id: self.id.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BYTES_MAX: usize = 64;

    fn read(bytes: &[u8]) -> Vec<(String, String, String)> {
        let events = EventDecoder::new(BYTES_MAX).push(bytes).unwrap();
        events
            .into_iter()
            .map(|it| (it.name, it.data, it.id))
            .collect()
    }

    #[test]
    fn a_stream_is_read_as_the_standard_says() {
        for (stream, expected) in [
            ("data: a\n\n", vec![("message", "a", "")]),
            ("data:a\ndata: b\ndata\n\n", vec![("message", "a\nb\n", "")]),
            (
                "id: 1\nevent: change\ndata: x\n\n",
                vec![("change", "x", "1")],
            ),
            (
                "event: change\r\ndata:  x\r\n\r\n",
                vec![("change", " x", "")],
            ),
            (
                "data: a\r\rdata: b\r\r",
                vec![("message", "a", ""), ("message", "b", "")],
            ),
            ("\u{feff}data: a\n\n", vec![("message", "a", "")]),
            ("\u{feff}\u{feff}data: a\n\n", vec![]),
            (": comment\ndata: a\n:\n\n", vec![("message", "a", "")]),
            ("data\n\n", vec![("message", "", "")]),
            ("event: x\n\ndata: a\n\n", vec![("message", "a", "")]),
            (
                "id: 1\ndata: a\n\ndata: b\n\n",
                vec![("message", "a", "1"), ("message", "b", "1")],
            ),
            (
                "id: 1\ndata: a\n\nid\ndata: b\n\n",
                vec![("message", "a", "1"), ("message", "b", "")],
            ),
            ("id: 1\nid: 2\0\ndata: a\n\n", vec![("message", "a", "1")]),
            ("Data: a\nfoo: b\ndata : c\n\n", vec![]),
            ("data: cut off\n", vec![]),
            ("data: a\n\ndata: b", vec![("message", "a", "")]),
        ] {
            let found = read(stream.as_bytes());
            let found: Vec<_> = found
                .iter()
                .map(|(name, data, id)| (name.as_str(), data.as_str(), id.as_str()))
                .collect();
            assert_eq!(found, expected, "{stream:?}");
        }
    }

    #[test]
    fn bytes_that_are_not_utf_8_are_replaced_where_they_stand() {
        let found = read(b"data: \xff\xe2\x82\n\ndata: \xe2\x82\xac\n\n");
        assert_eq!(found[0].1, "\u{fffd}\u{fffd}");
        assert_eq!(found[1].1, "€");
    }

    #[test]
    fn an_id_counts_once_its_event_has_ended() {
        let mut decoder = EventDecoder::new(BYTES_MAX).after("6.a");
        assert_eq!(decoder.last_id(), "6.a");
        decoder.push(b"id: 7.b\ndata: x\n").unwrap();
        assert_eq!(decoder.last_id(), "6.a");
        decoder.push(b"\n").unwrap();
        assert_eq!(decoder.last_id(), "7.b");
        decoder.push(b"id: 8.c\n\n").unwrap();
        assert_eq!(decoder.last_id(), "8.c");
    }

    #[test]
    fn only_digits_say_how_long_to_wait() {
        let mut decoder = EventDecoder::new(BYTES_MAX);
        for (line, expected) in [
            ("retry: 250\n", Some(250)),
            ("retry: -1\n", Some(250)),
            ("retry: 1e3\n", Some(250)),
            ("retry:\n", Some(250)),
            ("retry: 99999999999999999999999\n", Some(250)),
            ("retry: 0\n", Some(0)),
        ] {
            decoder.push(line.as_bytes()).unwrap();
            let expected = expected.map(Duration::from_millis);
            assert_eq!(decoder.retry(), expected, "{line:?}");
        }
    }

    #[test]
    fn an_event_at_its_limit_is_read_and_one_beyond_ends_the_stream() {
        let event = |bytes: usize| format!("data: {}\n\n", "x".repeat(bytes));
        let frame = "data: ".len();
        let most = event(BYTES_MAX - frame);
        assert_eq!(read(format!("{most}{most}").as_bytes()).len(), 2);
        let mut decoder = EventDecoder::new(BYTES_MAX);
        let mut stream = "id: 1\ndata: a\n\n".to_owned();
        decoder.push(stream.as_bytes()).unwrap();
        stream = "id: 2\ndata: b\n\n".to_owned() + &event(BYTES_MAX - frame + 1);
        assert!(decoder.push(stream.as_bytes()).is_err());
        assert_eq!(decoder.last_id(), "1");
        assert!(decoder.push(b"\n\ndata: c\n\n").is_err(), "it has ended");
        // Many lines of one event count together, and so does a line that never ends.
        for endless in ["data: x\n", ": comment", "event: x"] {
            let mut decoder = EventDecoder::new(BYTES_MAX);
            let mut pushes = (0..BYTES_MAX).map(|_| decoder.push(endless.as_bytes()));
            assert!(pushes.any(|pushed| pushed.is_err()), "{endless:?}");
        }
    }

    #[test]
    fn a_stream_reads_the_same_wherever_it_is_split() {
        let stream =
            "\u{feff}: hi\r\nid: 1\r\nevent: é\r\ndata: a\r\rdata: €\n\n\r\n\ndata: z\r\n\r\n";
        let whole = EventDecoder::new(BYTES_MAX)
            .push(stream.as_bytes())
            .unwrap();
        assert_eq!(whole.len(), 3);
        for first in 0..=stream.len() {
            for second in first..=stream.len() {
                let mut decoder = EventDecoder::new(BYTES_MAX);
                let mut events = Vec::new();
                for range in [0..first, first..second, second..stream.len()] {
                    events.extend(decoder.push(&stream.as_bytes()[range]).unwrap());
                }
                assert_eq!(events, whole, "split at {first} and {second}");
            }
        }
    }
}
