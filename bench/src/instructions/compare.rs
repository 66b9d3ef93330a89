//! The baseline, and what counts as a jump. Must never: let a change over the tolerance pass, in either direction: a gain that is not written
//! down would hide the next loss.

/// A change up to this share is noise: hash maps have random seeds, and libraries choose their code by the processor.
const TOLERANCE: f64 = 0.05;

const HEAD: &str = "# Instructions of one repeat of each case, as callgrind counts them (bench/instructions). A change of more than 5 % fails until it is
# written down here: `bench/instructions --write`, and say why in the commit's message.
";

/// What was counted when it was last written down.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Baseline(Vec<(String, u64)>);

/// Why the check fails.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum Jumped {
    /// Some cases differ.
    #[error("{}: if that is meant, write it down with `bench/instructions --write` and say why in the commit", .0.join("; "))]
    Cases(Vec<String>),
    /// The file is not a baseline.
    #[error("the baseline has a line that is no case with its count: `{0}`")]
    Line(String),
}

impl From<Vec<(String, u64)>> for Baseline {
    fn from(counts: Vec<(String, u64)>) -> Self {
        Self(counts)
    }
}

impl Baseline {
    /// Reads the file.
    pub fn from_text(text: &str) -> Result<Self, Jumped> {
        let lines = text.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty());
        let read = |line: &str| {
            let (name, count) = line.split_once(' ')?;
            Some((name.to_owned(), count.trim().parse().ok()?))
        };
        lines.map(|line| read(line).ok_or_else(|| Jumped::Line(line.to_owned()))).collect::<Result<_, _>>().map(Self)
    }

    /// Writes it.
    pub fn to_text(&self) -> String {
        let lines = self.0.iter().map(|(name, count)| format!("{name} {count}\n"));
        HEAD.to_owned() + &lines.collect::<String>()
    }

    fn get(&self, name: &str) -> Option<u64> {
        self.0.iter().find(|(of, _)| of == name).map(|(_, count)| *count)
    }

    /// What a case does now, for people.
    pub fn line(&self, name: &str, now: u64) -> String {
        let was = self.get(name).map_or_else(|| "not in the baseline".to_owned(), |was| format!("was {was}, {:+.1} %", change(was, now) * 100.0));
        format!("{name:<28} {now:>12} instructions ({was})")
    }

    /// Fails if a case jumped, is new, or is gone.
    pub fn check(&self, counts: &[(String, u64)]) -> Result<(), Jumped> {
        let mut jumps: Vec<_> = counts
            .iter()
            .filter_map(|(name, now)| match self.get(name) {
                None => Some(format!("`{name}` is not in the baseline")),
                Some(was) if change(was, *now).abs() > TOLERANCE => Some(format!("`{name}` went from {was} to {now} instructions")),
                Some(_) => None,
            })
            .collect();
        let gone = self.0.iter().filter(|(name, _)| counts.iter().all(|(counted, _)| counted != name));
        jumps.extend(gone.map(|(name, _)| format!("`{name}` is in the baseline, and no case")));
        if jumps.is_empty() { Ok(()) } else { Err(Jumped::Cases(jumps)) }
    }
}

fn change(was: u64, now: u64) -> f64 {
    (now as f64 - was as f64) / was.max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(counts: &[(&str, u64)]) -> Vec<(String, u64)> {
        counts.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
    }

    fn jumps(now: &[(&str, u64)]) -> usize {
        match Baseline::from(of(&[("turn", 10_000), ("replay", 2_000_000)])).check(&of(now)) {
            Ok(()) => 0,
            Err(Jumped::Cases(jumps)) => jumps.len(),
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn a_planted_jump_fails_in_either_direction_and_noise_does_not() {
        assert_eq!(jumps(&[("turn", 10_499), ("replay", 1_901_000)]), 0);
        assert_eq!(jumps(&[("turn", 10_501), ("replay", 2_000_000)]), 1);
        assert_eq!(jumps(&[("turn", 10_000), ("replay", 1_899_000)]), 1);
        assert_eq!(jumps(&[("turn", 20_000), ("replay", 4_000_000)]), 2);
        assert_eq!(jumps(&[("turn", 0), ("replay", 2_000_000)]), 1, "a case that counts nothing is broken");
    }

    #[test]
    fn a_case_that_is_new_or_gone_has_to_be_written_down() {
        assert_eq!(jumps(&[("turn", 10_000)]), 1);
        assert_eq!(jumps(&[("turn", 10_000), ("replay", 2_000_000), ("more", 1)]), 1);
    }

    #[test]
    fn the_file_comes_back_as_it_was_and_a_damaged_one_is_told() {
        let baseline = Baseline::from(of(&[("turn", 10_000), ("replay", 2_000_000)]));
        assert_eq!(Baseline::from_text(&baseline.to_text()), Ok(baseline));
        assert_eq!(Baseline::from_text("turn many"), Err(Jumped::Line("turn many".to_owned())));
    }
}
