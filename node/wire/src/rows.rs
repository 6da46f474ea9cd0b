//! Rows: results of any length, in batches of about one buffer.
//!
//! A batch is a message of its own: the number of columns, their names, row tuples, and an end word that says
//! whether another batch follows. Repeating the names costs little and makes every batch readable alone. The end
//! words cannot be mistaken for the types of a row, because 14 and 15 are no type codes.
//!
//! [`RowsEncoder`] is for a server that steps through a result: it needs memory for one batch, however long the
//! result is. [`RowsBatch`] is one batch, decoded.

use bytes::{BufMut, Bytes, BytesMut};

use crate::field::{Reader, len_u64, put_text_cut, put_u64, seal_message};
use crate::response::kind;
use crate::tuple::{decode_row, encode_row, row_len};
use crate::value::{Value, ValueRef};
use crate::{Header, WireError};

/// The body length at which a batch is full, in bytes: one page, as dqlite's buffers have it.
pub const BATCH_BYTES: usize = 4096;

/// The end word of a batch that another one follows.
const MORE: u64 = 0xeeee_eeee_eeee_eeee;
/// The end word of the last batch.
const DONE: u64 = 0xffff_ffff_ffff_ffff;

/// One batch of a result.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RowsBatch {
    /// The columns' names.
    pub columns: Vec<String>,
    /// The rows, each with one value per column.
    pub rows: Vec<Vec<Value>>,
    /// Whether another batch follows.
    pub more: bool,
}

impl RowsBatch {
    pub(crate) fn decode(reader: &mut Reader) -> Result<Self, WireError> {
        let count = reader.count("columns", 8)?;
        let mut columns = Vec::with_capacity(count);
        for _ in 0..count {
            columns.push(reader.text()?);
        }
        let mut rows = Vec::new();
        loop {
            let more = match reader.peek_word().map(u64::from_le_bytes) {
                Some(MORE) => true,
                Some(DONE) => false,
                // Without columns a row has no length: only an end word can follow.
                Some(_) if count > 0 => {
                    rows.push(decode_row(count, reader)?);
                    continue;
                }
                _ => return Err(WireError::MissingEndWord),
            };
            return Ok(Self {
                columns,
                rows,
                more,
            });
        }
    }

    pub(crate) fn encode(&self, out: &mut BytesMut) -> Result<(), WireError> {
        put_columns(&self.columns, out);
        for row in &self.rows {
            check_width(self.columns.len(), row.len())?;
            encode_row(row.iter().map(Value::as_ref), out)?;
        }
        put_u64(out, if self.more { MORE } else { DONE });
        Ok(())
    }
}

/// The column count and names. A column may be named by any expression of the SQL: a NUL in it cuts the name
/// short rather than refusing the rows.
fn put_columns<S: AsRef<str>>(columns: &[S], out: &mut BytesMut) {
    put_u64(out, len_u64(columns.len()));
    for name in columns {
        put_text_cut(out, name.as_ref());
    }
}

fn check_width(expected: usize, found: usize) -> Result<(), WireError> {
    match found {
        found if found == expected && found > 0 => Ok(()),
        found => Err(WireError::RowWidth { expected, found }),
    }
}

/// The columns of a result, as every batch of it begins.
#[derive(Debug, Clone)]
pub struct RowsPreamble {
    width: usize,
    bytes: Bytes,
}

impl RowsPreamble {
    /// Encodes columns of these names.
    #[must_use]
    pub fn new<S: AsRef<str>>(columns: &[S]) -> Self {
        let mut bytes = BytesMut::new();
        put_columns(columns, &mut bytes);
        Self {
            width: columns.len(),
            bytes: bytes.freeze(),
        }
    }
}

/// Turns a result into ROWS messages while the engine steps through it.
///
/// A batch closes before the row that would take it past [`BATCH_BYTES`], so a larger row travels alone. Nothing
/// closes the last batch but [`finish`](Self::finish); a result that fails half-way is given up by dropping the
/// encoder and sending a FAILURE after what [`take_ready`](Self::take_ready) has yielded.
///
/// ```
/// use ferrolite_wire::{RowsEncoder, ValueRef};
///
/// let mut encoder = RowsEncoder::new(&["n"]);
/// for n in 0..1000 {
///     encoder.push(&[ValueRef::Integer(n)])?;
///     if let Some(messages) = encoder.take_ready() {
///         // write them to the client; what is not yet ready stays in the encoder
/// #       assert!(messages.len() <= 4096 + 8);
///     }
/// }
/// let last = encoder.finish()?;
/// # assert!(!last.is_empty());
/// # Ok::<(), ferrolite_wire::WireError>(())
/// ```
#[derive(Debug)]
pub struct RowsEncoder {
    /// How many columns every row has.
    width: usize,
    /// The column count and names, as every batch repeats them.
    preamble: Bytes,
    /// Closed messages, then the open one.
    buffer: BytesMut,
    /// Where the open message's header stands in `buffer`.
    open_at: usize,
    /// The rows in the open message.
    open_rows: usize,
}

impl RowsEncoder {
    /// Starts a result with these columns.
    pub fn new<S: AsRef<str>>(columns: &[S]) -> Self {
        Self::with_preamble(&RowsPreamble::new(columns))
    }

    /// Likewise, with columns that were encoded before: for a statement that is run again and again.
    #[must_use]
    pub fn with_preamble(preamble: &RowsPreamble) -> Self {
        let mut encoder = Self {
            width: preamble.width,
            preamble: preamble.bytes.clone(),
            buffer: BytesMut::with_capacity(Header::LEN_BYTES + BATCH_BYTES),
            open_at: 0,
            open_rows: 0,
        };
        encoder.open();
        encoder
    }

    /// Adds a row. A text with a NUL inside goes as a blob of the same bytes, because the text encoding would
    /// cut it short.
    ///
    /// # Errors
    /// [`WireError::RowWidth`] if it has not one value per column, or the result has no columns;
    /// [`WireError::TooLarge`] if a message cannot hold it. The encoder is unchanged by the former.
    pub fn push(&mut self, row: &[ValueRef<'_>]) -> Result<(), WireError> {
        self.push_values(row.iter().copied())
    }

    /// Likewise, with the values wherever they are.
    ///
    /// # Errors
    /// As [`push`](Self::push).
    pub fn push_values<'a>(
        &mut self,
        row: impl Iterator<Item = ValueRef<'a>> + Clone,
    ) -> Result<(), WireError> {
        check_width(self.width, row.clone().count())?;
        if self.open_rows > 0 && self.open_body_len() + row_len(row.clone()) + 8 > BATCH_BYTES {
            self.cut()?;
        }
        encode_row(row, &mut self.buffer)?;
        self.open_rows += 1;
        Ok(())
    }

    /// Closes the open batch early, if it has a row, so that a slow result shows what it has.
    ///
    /// # Errors
    /// [`WireError::TooLarge`] if a single row exceeds what a message can hold.
    pub fn cut(&mut self) -> Result<(), WireError> {
        if self.open_rows > 0 {
            self.close(MORE)?;
            self.open();
        }
        Ok(())
    }

    /// The messages that are complete and not taken yet.
    pub fn take_ready(&mut self) -> Option<Bytes> {
        if self.open_at == 0 {
            return None;
        }
        let ready = self.buffer.split_to(self.open_at).freeze();
        self.open_at = 0;
        Some(ready)
    }

    /// Closes the last batch and returns every message not taken yet.
    ///
    /// # Errors
    /// [`WireError::TooLarge`] if a single row exceeds what a message can hold.
    pub fn finish(mut self) -> Result<Bytes, WireError> {
        self.close(DONE)?;
        Ok(self.buffer.freeze())
    }

    fn open_body_len(&self) -> usize {
        self.buffer
            .len()
            .saturating_sub(self.open_at + Header::LEN_BYTES)
    }

    fn open(&mut self) {
        self.open_at = self.buffer.len();
        self.open_rows = 0;
        self.buffer.reserve(Header::LEN_BYTES + BATCH_BYTES);
        self.buffer.put_bytes(0, Header::LEN_BYTES);
        self.buffer.put_slice(&self.preamble);
    }

    fn close(&mut self, end_word: u64) -> Result<(), WireError> {
        put_u64(&mut self.buffer, end_word);
        seal_message(&mut self.buffer, self.open_at, kind::ROWS, 0)
    }
}
