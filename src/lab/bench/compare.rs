//! Two reports against each other: what is better, what is worse, and what is noise.
//!
//! Pure. A figure counts as changed only when its rounds differ by more than chance would explain (Mann and Whitney's
//! rank test, adjusted for the number of figures by Holm) and by more than what is worth a word; the interval of the change comes from resampling.
//! It must not know files or exit codes.

use super::report::{Better, Fact, Measure, Report, Section, Table, Tone, figure};
use super::stats::{adjusted, least_rank_test, median, rank_test, ratio_interval};

/// What counts as a change.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Terms {
    /// Chance of calling noise a change, over all figures together.
    pub alpha: f64,
    /// Least change that is worth a word, as a share of the old figure.
    pub least: f64,
}

impl Default for Terms {
    fn default() -> Self {
        Self { alpha: 0.05, least: 0.05 }
    }
}

/// What became of a figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Better by more than noise.
    Better,
    /// Worse by more than noise.
    Worse,
    /// No change beyond noise.
    Same,
    /// Too few rounds to say.
    Unknown,
}

impl Verdict {
    /// In a word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Better => "better",
            Self::Worse => "worse",
            Self::Same => "same",
            Self::Unknown => "too few rounds",
        }
    }
}

/// One figure in both reports.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// What was measured.
    pub name: String,
    /// Its unit.
    pub unit: String,
    /// Medians, the old report's first.
    pub medians: (f64, f64),
    /// The interval of new to old, at 95 %.
    pub ratio: (f64, f64),
    /// How likely chance explains it, adjusted for the number of figures.
    pub likelihood: f64,
    /// What became of it.
    pub verdict: Verdict,
}

/// All figures in both reports.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison {
    /// One a figure that both have, in the old report's order.
    pub changes: Vec<Change>,
    /// Figures that only one of them has.
    pub alone: Vec<String>,
    /// Facts of the machines that differ: name, old, new.
    pub differs: Vec<(String, String, String)>,
}

/// Facts that may differ between two runs on one machine.
const MAY_DIFFER: [&str; 3] = ["rescored", "load at the start", "load at the end"];

impl Comparison {
    /// Compares.
    pub fn of(old: &Report, new: &Report, terms: &Terms) -> Self {
        let (olds, news) = (measures(old), measures(new));
        let both: Vec<(&Measure, &Measure)> = olds
            .iter()
            .filter_map(|(name, one)| news.iter().find(|(other, _)| other == name).map(|(_, other)| (*one, *other)))
            .collect();
        let names: Vec<&String> =
            olds.iter().filter(|(name, _)| news.iter().any(|(other, _)| other == name)).map(|(name, _)| name).collect();
        let raw: Vec<f64> = both.iter().map(|(old, new)| rank_test(&old.rounds, &new.rounds)).collect();
        let tests = adjusted(&raw);
        let changes = names
            .into_iter()
            .zip(&both)
            .zip(tests)
            .filter_map(|((name, (old, new)), likelihood)| change(name, old, new, likelihood, both.len(), terms))
            .collect();
        let in_both = |name: &String, others: &[(String, &Measure)]| others.iter().any(|(other, _)| other == name);
        let alone = olds.iter().filter(|(name, _)| !in_both(name, &news));
        let alone = alone.chain(news.iter().filter(|(name, _)| !in_both(name, &olds))).map(|(name, _)| name.clone());
        Self { changes, alone: alone.collect(), differs: differs(&old.machine, &new.machine) }
    }

    /// Whether any figure is worse.
    pub fn is_worse(&self) -> bool {
        self.changes.iter().any(|change| change.verdict == Verdict::Worse)
    }

    /// Whether both come from the same machine.
    pub fn is_fair(&self) -> bool {
        self.differs.is_empty()
    }

    /// The verdict, to print.
    pub fn section(&self, terms: &Terms) -> Section {
        let mut table = Table::new("", &["figure", "unit", "old", "new", "change", "95 %", "chance", "verdict"]);
        let percent = |ratio: f64| format!("{:+.1} %", (ratio - 1.0) * 100.0);
        for change in &self.changes {
            let (old, new) = change.medians;
            let tone = match change.verdict {
                Verdict::Worse => Tone::Best,
                Verdict::Better | Verdict::Same => Tone::Plain,
                Verdict::Unknown => Tone::Aside,
            };
            let cells = [
                change.name.clone(),
                change.unit.clone(),
                figure(old),
                figure(new),
                percent(new / old),
                format!("{} to {}", percent(change.ratio.0), percent(change.ratio.1)),
                format!("{:.3}", change.likelihood),
                change.verdict.word().to_owned(),
            ];
            table.push(tone, cells.into());
        }
        let count = |verdict| self.changes.iter().filter(|change| change.verdict == verdict).count();
        let findings = vec![format!(
            "{} worse, {} better, {} the same, {} with too few rounds to tell",
            count(Verdict::Worse),
            count(Verdict::Better),
            count(Verdict::Same),
            count(Verdict::Unknown)
        )];
        let mut notes = vec![format!(
            "a change counts when chance explains it with less than {} over all figures together (rank test, Holm) and the medians are {} % apart or more",
            terms.alpha,
            terms.least * 100.0
        )];
        notes.extend(self.differs.iter().map(|(name, old, new)| format!("{name} differs: {old} | {new}")));
        if !self.alone.is_empty() {
            notes.push(format!("in one report only: {}", self.alone.join(", ")));
        }
        Section {
            id: "compare".to_owned(),
            title: "Comparison".to_owned(),
            question: "What has changed by more than noise?".to_owned(),
            findings,
            tables: vec![table],
            notes,
            ..Section::default()
        }
    }
}

fn change(name: &str, old: &Measure, new: &Measure, likelihood: f64, tests: usize, terms: &Terms) -> Option<Change> {
    let medians = (median(&old.rounds)?, median(&new.rounds)?);
    let ratio = ratio_interval(&old.rounds, &new.rounds, 0.95)?;
    // With rounds this few, no difference however large could pass the adjusted test.
    let blind = least_rank_test(old.rounds.len(), new.rounds.len()) * tests as f64 > terms.alpha;
    let worth = (medians.1 / medians.0 - 1.0).abs() >= terms.least;
    let grew = medians.1 > medians.0;
    let verdict = match () {
        () if likelihood <= terms.alpha && worth && grew == (old.better == Better::Higher) => Verdict::Better,
        () if likelihood <= terms.alpha && worth => Verdict::Worse,
        () if blind && worth => Verdict::Unknown,
        () => Verdict::Same,
    };
    Some(Change { name: name.to_owned(), unit: old.unit.clone(), medians, ratio, likelihood, verdict })
}

/// Every measurement with its full name. Those without rounds say nothing.
fn measures(report: &Report) -> Vec<(String, &Measure)> {
    let named = |section: &'_ Section, measure: &Measure| format!("{}/{}", section.id, measure.name);
    report
        .sections
        .iter()
        .flat_map(|section| section.measures.iter().map(move |measure| (named(section, measure), measure)))
        .filter(|(_, measure)| !measure.rounds.is_empty())
        .collect()
}

fn differs(old: &[Fact], new: &[Fact]) -> Vec<(String, String, String)> {
    let value = |facts: &[Fact], name: &str| {
        facts.iter().find(|fact| fact.name == name).map_or_else(|| "-".to_owned(), |fact| fact.value.clone())
    };
    let mut names: Vec<&str> = old.iter().chain(new).map(|fact| fact.name.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    names
        .into_iter()
        .filter(|name| !MAY_DIFFER.contains(name))
        .map(|name| (name.to_owned(), value(old, name), value(new, name)))
        .filter(|(_, old, new)| old != new)
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::bench::report::SCHEMA;

    fn report(measures: Vec<(&str, Better, Vec<f64>)>) -> Report {
        let measures = measures
            .into_iter()
            .map(|(name, better, rounds)| Measure { name: name.to_owned(), unit: "u".to_owned(), better, rounds })
            .collect();
        Report {
            schema: SCHEMA,
            title: String::new(),
            command: String::new(),
            started: 0,
            took_s: 0.0,
            machine: vec![Fact::new("cpu", "one"), Fact::new("load at the start", "0.1")],
            sections: vec![Section { id: "s".to_owned(), measures, ..Section::default() }],
        }
    }

    fn verdict(better: Better, old: &[f64], new: &[f64]) -> Verdict {
        let [old, new] = [old, new].map(|rounds| report(vec![("a", better, rounds.to_vec())]));
        Comparison::of(&old, &new, &Terms::default()).changes[0].verdict
    }

    const OLD: [f64; 5] = [100.0, 101.0, 99.0, 100.5, 99.5];

    #[test]
    fn a_clear_change_is_reported_by_which_way_is_better() {
        let faster = OLD.map(|value| value * 1.2);
        assert_eq!(verdict(Better::Higher, &OLD, &faster), Verdict::Better);
        assert_eq!(verdict(Better::Lower, &OLD, &faster), Verdict::Worse);
    }

    #[test]
    fn noise_and_what_is_not_worth_a_word_is_the_same() {
        assert_eq!(verdict(Better::Higher, &OLD, &OLD), Verdict::Same);
        assert_eq!(verdict(Better::Higher, &OLD, &OLD.map(|value| value * 0.97)), Verdict::Same, "3 % less, surely");
        let noisy = [60.0, 140.0, 90.0, 115.0, 80.0];
        assert_eq!(verdict(Better::Higher, &noisy, &[70.0, 120.0, 85.0, 130.0, 75.0]), Verdict::Same);
    }

    #[test]
    fn too_few_rounds_are_said_to_be_too_few() {
        assert_eq!(verdict(Better::Higher, &[100.0, 101.0], &[50.0, 51.0]), Verdict::Unknown);
    }

    #[test]
    fn many_figures_make_chance_less_likely_to_be_taken_for_a_change() {
        // Alone, p is 2/252 and passes; among ten figures it does not.
        let slower = OLD.map(|value| value * 0.8);
        let many = |rounds: &[f64; 5]| {
            let names = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"];
            report(
                names
                    .into_iter()
                    .map(|name| (name, Better::Higher, if name == "a" { rounds.to_vec() } else { OLD.to_vec() }))
                    .collect(),
            )
        };
        let comparison = Comparison::of(&many(&OLD), &many(&slower), &Terms::default());
        assert_eq!(comparison.changes[0].verdict, Verdict::Unknown);
    }

    #[test]
    fn other_machines_and_lone_figures_are_named() {
        let (old, mut new) = (report(vec![("a", Better::Higher, OLD.to_vec())]), report(Vec::new()));
        assert!(Comparison::of(&old, &old, &Terms::default()).is_fair());
        new.machine = vec![Fact::new("cpu", "another"), Fact::new("load at the start", "9")];
        let comparison = Comparison::of(&old, &new, &Terms::default());
        assert_eq!(comparison.alone, ["s/a"]);
        assert_eq!(comparison.differs, [("cpu".to_owned(), "one".to_owned(), "another".to_owned())]);
    }

    proptest! {
        #[test]
        fn a_report_is_never_worse_than_itself(rounds in prop::collection::vec(0.1_f64..1e6, 1..20)) {
            prop_assert_eq!(verdict(Better::Higher, &rounds, &rounds), Verdict::Same);
        }

        #[test]
        fn a_verdict_turns_round_with_the_reports(old in prop::collection::vec(50.0_f64..150.0, 4..9),
                                                  new in prop::collection::vec(50.0_f64..150.0, 4..9)) {
            // The threshold is a share of the old figure, so changes near it may pass one way only.
            let ratio = median(&new).unwrap() / median(&old).unwrap();
            prop_assume!((ratio - 1.0).abs() > 0.06 || (ratio - 1.0).abs() < 0.04);
            let there = verdict(Better::Higher, &old, &new);
            let back = verdict(Better::Higher, &new, &old);
            let turned = match there {
                Verdict::Better => Verdict::Worse,
                Verdict::Worse => Verdict::Better,
                same @ (Verdict::Same | Verdict::Unknown) => same,
            };
            prop_assert_eq!(back, turned);
        }
    }
}
