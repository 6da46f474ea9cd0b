//! The one source of chance.

/// A tape of bytes: from a seed and endless, or given and finite.
#[derive(Clone, Debug)]
pub struct Tape {
    bytes: Vec<u8>,
    at: usize,
    /// State of the generator that lengthens the tape; `None` for a finite one.
    seed: Option<u64>,
}

impl Tape {
    pub fn from_seed(seed: u64) -> Self {
        Self {
            bytes: Vec::new(),
            at: 0,
            seed: Some(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0xD1B5_4A32_D192_ED03),
        }
    }

    pub fn from_bytes(bytes: &[u8]) -> Self {
        Self {
            bytes: bytes.to_vec(),
            at: 0,
            seed: None,
        }
    }

    /// Whether a finite tape has run out; from then on it reads as zeros.
    pub fn is_exhausted(&self) -> bool {
        self.seed.is_none() && self.at >= self.bytes.len()
    }

    /// The bytes that were read.
    pub fn consumed(&self) -> Vec<u8> {
        self.bytes[..self.at.min(self.bytes.len())].to_vec()
    }

    /// The bytes as far as they are known, or of a seed as many as any run could read.
    pub fn whole(mut self) -> Vec<u8> {
        if self.seed.is_some() {
            while self.bytes.len() < 1 << 16 {
                self.extend();
            }
        }
        self.bytes
    }

    fn extend(&mut self) {
        if let Some(state) = &mut self.seed {
            *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let mut z = *state;
            z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            self.bytes.extend_from_slice(&(z ^ (z >> 31)).to_le_bytes());
        }
    }

    pub fn byte(&mut self) -> u8 {
        if self.at >= self.bytes.len() {
            self.extend();
        }
        let byte = self.bytes.get(self.at).copied().unwrap_or(0);
        self.at += 1;
        byte
    }

    /// A value below `bound` (0 if the bound is 0).
    pub fn below(&mut self, bound: u64) -> u64 {
        match bound {
            0 | 1 => 0,
            2..=256 => u64::from(self.byte()) % bound,
            _ => {
                (u64::from(self.byte()) << 16
                    | u64::from(self.byte()) << 8
                    | u64::from(self.byte()))
                    % bound
            }
        }
    }

    /// True in `per_256` of 256 cases. A zero byte says no, so that an exhausted tape is a quiet one.
    pub fn chance(&mut self, per_256: u8) -> bool {
        per_256 > 0 && self.byte() > 255 - per_256
    }

    /// One of the values.
    pub fn pick<T: Copy>(&mut self, values: &[T]) -> Option<T> {
        if values.is_empty() {
            None
        } else {
            values
                .get(self.below(values.len() as u64) as usize)
                .copied()
        }
    }
}
