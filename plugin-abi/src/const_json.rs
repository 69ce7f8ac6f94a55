//! JSON texts that are made at compile time, for the notes in a plugin's file.

/// A JSON text of at most `N` bytes, padded with blanks. Past its end it only counts, so that a check of its length can
/// say so, and one of no bytes measures.
pub(crate) struct Json<const N: usize> {
    pub(crate) bytes: [u8; N],
    pub(crate) length: usize,
}

impl<const N: usize> Json<N> {
    pub(crate) const fn new() -> Self {
        Self { bytes: [b' '; N], length: 0 }
    }

    /// Length of the text with the blanks that a note needs: it is padded to 4 bytes.
    pub(crate) const fn padded_bytes(&self) -> usize {
        self.length.next_multiple_of(4)
    }

    const fn push(&mut self, byte: u8) {
        if self.length < N {
            self.bytes[self.length] = byte;
        }
        self.length += 1;
    }

    pub(crate) const fn raw(&mut self, text: &str) {
        let bytes = text.as_bytes();
        let mut at = 0;
        while at < bytes.len() {
            self.push(bytes[at]);
            at += 1;
        }
    }

    /// Quotes and backslashes are escaped, control characters become blanks.
    pub(crate) const fn escaped(&mut self, text: &str) {
        let bytes = text.as_bytes();
        let mut at = 0;
        while at < bytes.len() {
            match bytes[at] {
                b'"' | b'\\' => {
                    self.push(b'\\');
                    self.push(bytes[at]);
                }
                0..=31 => self.push(b' '),
                byte => self.push(byte),
            }
            at += 1;
        }
    }
}
