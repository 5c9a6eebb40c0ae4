//! Packets by fate.

/// What became of a packet that was not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Fate {
    /// Never came, by the gaps in sequence numbers.
    Lost,
    /// Came too old to act on.
    Late,
    /// Came twice.
    Duplicated,
    /// Came after a later one.
    Reordered,
    /// Damaged, or no packet of ours at all.
    Corrupt,
    /// From another peer, of another session, or not for this end.
    Foreign,
    /// Without the right MAC.
    Unauthenticated,
    /// Of another version of the wire format.
    Version,
    /// Good, but not what this robot or controller can use: another width, a number out of place.
    Misfit,
    /// Could not be sent.
    Unsent,
}

impl Fate {
    /// Every kind.
    pub const ALL: [Self; 10] = [
        Self::Lost,
        Self::Late,
        Self::Duplicated,
        Self::Reordered,
        Self::Corrupt,
        Self::Foreign,
        Self::Unauthenticated,
        Self::Version,
        Self::Misfit,
        Self::Unsent,
    ];

    /// Name as in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Lost => "lost",
            Self::Late => "late",
            Self::Duplicated => "duplicated",
            Self::Reordered => "reordered",
            Self::Corrupt => "corrupt",
            Self::Foreign => "foreign",
            Self::Unauthenticated => "unauthenticated",
            Self::Version => "version",
            Self::Misfit => "misfit",
            Self::Unsent => "unsent",
        }
    }
}

/// Packets of a link, by fate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkCounts {
    /// Sent.
    pub sent: u64,
    /// Received and used.
    pub received: u64,
    drops: [u64; Fate::ALL.len()],
}

impl LinkCounts {
    /// Counts packets of this fate.
    pub fn add(&mut self, drop: Fate, n: u64) {
        self.drops[drop as usize] += n;
    }

    /// One that was counted as lost came after all.
    pub(super) fn found(&mut self) {
        let lost = &mut self.drops[Fate::Lost as usize];
        *lost = lost.saturating_sub(1);
    }

    /// Packets with this fate.
    pub fn get(&self, drop: Fate) -> u64 {
        self.drops[drop as usize]
    }

    /// All drops.
    pub fn dropped(&self) -> u64 {
        self.drops.iter().sum()
    }
}
