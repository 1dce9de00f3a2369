//! Mutations of inputs, the same for the same seed.

/// Pieces that readers have been known to stumble over.
const PIECES: &[&str] = &[
    "\"",
    "{",
    "}",
    "[",
    "]",
    ":",
    ",",
    "\\",
    "\n",
    "\r\n",
    "\t",
    " ",
    "- ",
    "? ",
    "#",
    "&a",
    "*a",
    "!!str ",
    "!x ",
    "<<: *a",
    "---\n",
    "...\n",
    "|\n",
    ">\n",
    "null",
    "true",
    "0",
    "-0",
    "1e999",
    "NaN",
    ".inf",
    "9007199254740991",
    "9007199254740992",
    "-1",
    "0.0001",
    "1.0",
    "100",
    "\\u0000",
    "\\ud800",
    "\u{0}",
    "\u{1f}",
    "\u{feff}",
    "\u{7f}",
    "\u{202e}",
    "é",
    "😀",
    "..",
    "../",
    "%2e",
    "~",
    "~1",
    "/",
    "$",
    "\"$ref\":\"#\"",
    "\"all\":[]",
    "\"not\":",
    "\"percent\":{}",
    "a: ",
    "data:",
    "id:",
    "retry:",
    "event:",
    "sha256:",
    "ed25519:",
    "=== x.yaml\n",
    "{\"$file\":\"a\"}",
];

/// A stream of numbers (xorshift64*), seeded by a name.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(name: &str) -> Self {
        let mix = |sum: u64, byte: u8| (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        Self(name.bytes().fold(0xcbf2_9ce4_8422_2325, mix))
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    /// A number below `end`; 0 if there is none.
    fn below(&mut self, end: usize) -> usize {
        let end = u64::try_from(end.max(1)).unwrap();
        usize::try_from(self.next() % end).unwrap()
    }

    /// One of `corpus`, changed in one to eight places.
    pub(crate) fn mutated(&mut self, corpus: &[Vec<u8>]) -> Vec<u8> {
        let mut input = corpus[self.below(corpus.len())].clone();
        for _ in 0..=self.below(8) {
            self.change(&mut input, corpus);
        }
        input
    }

    fn change(&mut self, input: &mut Vec<u8>, corpus: &[Vec<u8>]) {
        let at = self.below(input.len() + 1);
        let end = (at + self.below(24)).min(input.len());
        match self.below(8) {
            0 => {
                if let Some(byte) = input.get_mut(at) {
                    *byte ^= 1 << (self.next() % 8);
                }
            }
            1 => drop(input.drain(at..end)),
            2 => {
                let again = input[at..end].to_vec();
                input.splice(end..end, again);
            }
            3 => input.truncate(at),
            4 => {
                let other = &corpus[self.below(corpus.len())];
                let from = self.below(other.len() + 1);
                let to = (from + self.below(64)).min(other.len());
                input.splice(at..end, other[from..to].iter().copied());
            }
            5 => {
                let byte = u8::try_from(self.below(256)).unwrap();
                input.insert(at, byte);
            }
            _ => {
                let piece = PIECES[self.below(PIECES.len())];
                // As often in the place of something as between.
                let end = if self.below(2) == 0 { at } else { end };
                input.splice(at..end, piece.bytes());
            }
        }
    }
}
