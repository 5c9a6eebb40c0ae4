//! Whether numbers look like what they are said to be: recordings of something that moves on from
//! step to step.
//!
//! A robot's state changes little in one control step. [`roughness`] measures that: about 1 for
//! numbers in no order and far below for anything that moves. Arrays that were written in another order of axes are rough
//! as they are read and smooth in the order that was meant; shuffled steps are rough in every
//! order.

use sog_formats::stats::roughness;

/// Where another order of the axes makes the smoothest component rough by this share only, it was
/// meant. In recordings of the locomotion tasks and circles it is rough by 0.0001 to 0.012 as they are,
/// by 0.026 to 1.3 read in any other order; in those of fetchreach, all noise, by 0.2 and 0.56 to 1.
const SMOOTHER: f64 = 0.1;

/// Roughness of the smoothest component from which steps are in no order.
const SHUFFLED: f64 = 0.7;

/// Rows below which it says little that steps are in no order.
const ROWS: usize = 100;

/// Pairs of neighbouring steps below which roughness says nothing.
const PAIRS: usize = 10;

/// Most trajectories that are looked at.
const TRAJECTORIES: usize = 200;

/// `[N, T, width]` as it was read, with the steps that count of each trajectory.
pub(super) struct Array<'a> {
    /// Row-major.
    pub(super) values: &'a [f32],
    /// N, T, width.
    pub(super) shape: [usize; 3],
    /// `[N]`.
    pub(super) lengths: &'a [usize],
}

/// An order of axes in which an array may have been meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    /// As it is read.
    Rows,
    /// Each trajectory's block is `[width, T]` (Fortran order of `[T, width]`).
    FortranBlocks,
    /// The whole array is in Fortran order.
    Fortran,
    /// `[T, N, width]`.
    TimeMajor,
}

impl Order {
    /// The sizes N, T that an array read as `shape` has in this order.
    fn sizes(self, [n, t, _]: [usize; 3]) -> (usize, usize) {
        if self == Self::TimeMajor { (t, n) } else { (n, t) }
    }

    /// Where an element lies in an array read as `shape`.
    fn at(self, [n, t, width]: [usize; 3], (i, j, k): (usize, usize, usize)) -> usize {
        match self {
            Self::Rows => (i * t + j) * width + k,
            Self::FortranBlocks => i * t * width + k * t + j,
            Self::Fortran => i + n * (j + t * k),
            Self::TimeMajor => (j * t + i) * width + k,
        }
    }

    /// What it is called and what to do.
    fn advice(self) -> &'static str {
        match self {
            Self::Rows => "",
            Self::FortranBlocks | Self::Fortran => {
                "they look Fortran-ordered: write `np.ascontiguousarray(x)` of each array"
            }
            Self::TimeMajor => {
                "they look time-major, [T, N, …]: write `x.transpose(1, 0, 2)` of each array, made \
                 contiguous"
            }
        }
    }
}

impl Array<'_> {
    /// What is implausible about the order of the numbers; `None` where nothing is. Only what `moves`
    /// (a state does, an action need not) can look shuffled or time-major.
    pub(super) fn implausible(&self, moves: bool) -> Option<String> {
        let read = self.roughness(Order::Rows)?;
        let ragged = self.lengths.iter().any(|&l| l != self.shape[1]);
        for order in [Order::FortranBlocks, Order::Fortran, Order::TimeMajor] {
            // What is nowhere smooth in time may be so across what was read as trajectories.
            let possible = match order {
                Order::TimeMajor => moves && !ragged && read > 0.5,
                _ => self.shape[2] > 1,
            };
            let meant = possible.then(|| self.roughness(order)).flatten();
            if let Some(meant) = meant
                && meant < SMOOTHER * read
            {
                return Some(format!(
                    "read so, its smoothest component is {:.0} times as rough as in another order of \
                     the axes; {}",
                    read / meant.max(1e-9),
                    order.advice()
                ));
            }
        }
        let rows: usize = self.lengths.iter().sum();
        (moves && read > SHUFFLED && rows >= ROWS).then(|| {
            "neighbouring steps differ as much as any two steps: the steps look shuffled; write each \
             trajectory in the order of time"
                .to_string()
        })
    }

    /// Roughness of the smoothest component in an order of axes; `None` where there is too little to
    /// say.
    fn roughness(&self, order: Order) -> Option<f64> {
        let (n, t) = order.sizes(self.shape);
        let stride = n.div_ceil(TRAJECTORIES).max(1);
        let of_component = |k: usize| {
            let of_trajectory = |i: usize| {
                let length = if order == Order::TimeMajor { t } else { self.lengths[i] };
                // Padding, which a wrong order mixes in, may be NaN.
                let value = |j| f64::from(self.values[order.at(self.shape, (i, j, k))]);
                (0..length).map(value).filter(|x| x.is_finite()).collect()
            };
            let rows: Vec<Vec<f64>> = (0..n).step_by(stride).map(of_trajectory).collect();
            let pairs: usize = rows.iter().map(|row| row.len().saturating_sub(1)).sum();
            if pairs < PAIRS { None } else { roughness(&rows) }
        };
        (0..self.shape[2]).filter_map(of_component).min_by(f64::total_cmp)
    }
}
