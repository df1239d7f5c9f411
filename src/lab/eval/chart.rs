//! Quality against cost, as a chart: what each system loses of the best nDCG, over what a query takes.
//!
//! Pure. Owns which figures are drawn. How charts are drawn is [`crate::bench::report::chart`]'s.

use super::CUT;
use super::report::Report;
use crate::bench::report::{Chart, Kind, Point, Series, Tone};

/// One point a system; the first stage, which takes no time, stands in the title.
pub fn chart(report: &Report) -> Chart {
    let best = report.systems.iter().map(|row| row.ndcg_at_10).fold(f64::MIN_POSITIVE, f64::max);
    let loss = |ndcg: f64| 100.0 * (1.0 - ndcg / best);
    let (first, others) = report.systems.split_first().map_or((None, &[][..]), |(first, others)| (Some(first), others));
    let series = others.iter().map(|row| {
        let (x, y) = (row.milliseconds.mean, loss(row.ndcg_at_10));
        let tone = if row.ndcg_at_10 >= best { Tone::Best } else { Tone::Plain };
        Series { name: row.name.clone(), tone, points: vec![Point { x, y, least: y, most: y }] }
    });
    let without = first.map_or(0.0, |first| loss(first.ndcg_at_10));
    Chart {
        name: "quality".to_owned(),
        title: format!("{}: the first stage alone loses {without:.1} %", report.data.name),
        x: "ms a query (mean)".to_owned(),
        y: format!("% of the best nDCG@{CUT} lost"),
        kind: Kind::LinesLogX,
        series: series.collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::report::fixture;
    use super::*;
    use crate::bench::report::chart::svg;

    #[test]
    fn each_system_is_a_point_of_cost_and_loss() {
        let chart = chart(&fixture());
        let points: Vec<(f64, f64)> =
            chart.series.iter().map(|series| (series.points[0].x, series.points[0].y)).collect();
        assert_eq!(points.iter().map(|point| point.0).collect::<Vec<_>>(), [100.0, 50.0, 5.0]);
        for ((_, loss), expected) in points.iter().zip([0.0, 0.25, 25.0]) {
            assert!((loss - expected).abs() < 1e-9, "{points:?}");
        }
        assert!(chart.title.contains("loses 37.5 %"), "{}", chart.title);
        let drawn = svg(&chart).unwrap();
        assert!(drawn.contains("big@int8") && drawn.contains("ms a query"), "{drawn}");
    }
}
