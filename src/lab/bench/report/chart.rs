//! Charts as SVG: the same chart gives the same bytes, on every machine.
//!
//! Pure. Owns every use of plotters. Drawn narrow, with large letters, so that a phone's width does not make them
//! unreadable. It must not know what is drawn.

use std::fmt::Display;
use std::ops::Range;

use plotters::coord::Shift;
use plotters::coord::ranged1d::{DefaultFormatting, KeyPointHint};
use plotters::prelude::{
    Cartesian2d, ChartBuilder, ChartContext, Circle, Color, DrawingArea, IntoDrawingArea, IntoFont, LineSeries,
    PathElement, RGBColor, Ranged, Rectangle, SVGBackend, Text, TextStyle, WHITE,
};
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::{Chart, Kind, Point, Series, Tone, figure};

/// Width of every chart, in units of its own.
const WIDTH: i32 = 480;
/// Height of the lines' part.
const PLOT: i32 = 290;
/// Space at the sides.
const MARGIN: i32 = 14;
/// Height of a bar with its name above it.
const BAR: i32 = 48;
/// Height of a line of the legend.
const LEGEND: i32 = 22;
/// Letters of a legend's line at most.
const LETTERS: usize = 46;

const INK: RGBColor = RGBColor(0x1f, 0x29, 0x33);
const FAINT: RGBColor = RGBColor(0xe3, 0xe8, 0xed);
const SOFT: RGBColor = RGBColor(0x5b, 0x67, 0x73);
const BEST: RGBColor = RGBColor(0x0b, 0x7a, 0x5b);
const PLAIN: RGBColor = RGBColor(0x7d, 0x9a, 0xb5);
const ASIDE: RGBColor = RGBColor(0xc9, 0xd1, 0xd8);

/// Colours that people who see few colours can distinguish (Okabe and Ito).
const COLOURS: [RGBColor; 7] = [
    RGBColor(0x00, 0x72, 0xb2),
    RGBColor(0xd5, 0x5e, 0x00),
    RGBColor(0x00, 0x9e, 0x73),
    RGBColor(0xcc, 0x79, 0xa7),
    RGBColor(0xe6, 0x9f, 0x00),
    RGBColor(0x56, 0xb4, 0xe9),
    RGBColor(0x33, 0x33, 0x33),
];

/// A chart that could not be drawn.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("chart `{name}`: {message}")]
pub struct ChartError {
    name: String,
    message: String,
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// The chart as an SVG document.
///
/// # Errors
/// [`ChartError`], which the drawing library alone can cause.
pub fn svg(chart: &Chart) -> Result<String, ChartError> {
    let mut text = String::new();
    let legend = match chart.kind {
        Kind::Bars => 0,
        Kind::Lines | Kind::LinesLogX | Kind::LinesLogLog => units(legend_lines(chart).len()) * LEGEND + 8,
    };
    let height = 40 + legend + if chart.kind == Kind::Bars { BAR * units(chart.series.len()) + 26 } else { PLOT };
    {
        let size = (WIDTH.unsigned_abs(), height.unsigned_abs());
        let area = SVGBackend::with_string(&mut text, size).into_drawing_area();
        let drawn = match chart.kind {
            Kind::Bars => bars(&area, chart),
            Kind::Lines | Kind::LinesLogX | Kind::LinesLogLog => lines(&area, chart),
        };
        drawn
            .and_then(|()| area.present().map_err(said))
            .map_err(|message| ChartError { name: chart.name.clone(), message })?;
    }
    Ok(text)
}

fn said(error: impl Display) -> String {
    error.to_string()
}

fn style(size: i32, colour: RGBColor, across: HPos) -> TextStyle<'static> {
    ("sans-serif", size).into_font().color(&colour).pos(Pos::new(across, VPos::Top))
}

fn write(area: &Area<'_>, text: String, at: (i32, i32), style: TextStyle<'static>) -> Result<(), String> {
    area.draw(&Text::new(text, at, style)).map_err(said)
}

fn bars(area: &Area<'_>, chart: &Chart) -> Result<(), String> {
    area.fill(&WHITE).map_err(said)?;
    write(area, chart.title.clone(), (MARGIN, 8), style(20, INK, HPos::Left))?;
    let longest = chart.series.iter().flat_map(|one| &one.points).map(|point| point.most.max(point.x));
    let longest = longest.fold(f64::MIN_POSITIVE, f64::max);
    let place = |value: f64| MARGIN + pixel(f64::from(WIDTH - 2 * MARGIN) * (value / longest).clamp(0.0, 1.0));
    for (n, series) in chart.series.iter().enumerate() {
        let top = 40 + BAR * units(n);
        let Some(point) = series.points.first() else { continue };
        let colour = match series.tone {
            Tone::Best => BEST,
            Tone::Plain => PLAIN,
            Tone::Aside => ASIDE,
        };
        write(area, shortened(&series.name), (MARGIN, top), style(17, INK, HPos::Left))?;
        write(area, figure(point.x), (WIDTH - MARGIN, top), style(17, INK, HPos::Right))?;
        let bar = [(MARGIN, top + 22), (place(point.x).max(MARGIN + 1), top + 38)];
        area.draw(&Rectangle::new(bar, colour.filled())).map_err(said)?;
        let (least, most) = (place(point.least), place(point.most));
        let whisker = vec![(least, top + 30), (most, top + 30)];
        area.draw(&PathElement::new(whisker, INK.stroke_width(1))).map_err(said)?;
        for end in [least, most] {
            let end = vec![(end, top + 26), (end, top + 34)];
            area.draw(&PathElement::new(end, INK.stroke_width(1))).map_err(said)?;
        }
    }
    let below = 40 + BAR * units(chart.series.len());
    write(area, chart.x.clone(), (WIDTH - MARGIN, below), style(15, SOFT, HPos::Right))
}

fn lines(area: &Area<'_>, chart: &Chart) -> Result<(), String> {
    area.fill(&WHITE).map_err(said)?;
    write(area, chart.title.clone(), (MARGIN, 8), style(20, INK, HPos::Left))?;
    let mut top = 40;
    for line in legend_lines(chart) {
        let mut left = MARGIN;
        for at in line {
            let (name, colour) = (shortened(&chart.series[at].name), COLOURS[at % COLOURS.len()]);
            let square = [(left, top + 3), (left + 12, top + 15)];
            area.draw(&Rectangle::new(square, colour.filled())).map_err(said)?;
            left += legend_width(&name);
            let from = left - legend_width(&name) + 18;
            write(area, name, (from, top), style(17, INK, HPos::Left))?;
        }
        top += LEGEND;
    }
    let (_, plot) = area.split_vertically(top + 4);
    let (x, y) = (Scale::across(chart), Scale::up(chart));
    let mut context = ChartBuilder::on(&plot)
        .margin_right(MARGIN + 6)
        .margin_left(4)
        .margin_bottom(6)
        .x_label_area_size(48)
        .y_label_area_size(66)
        .build_cartesian_2d(x.clone(), y.clone())
        .map_err(said)?;
    context
        .configure_mesh()
        .axis_style(SOFT)
        .bold_line_style(FAINT)
        .light_line_style(WHITE)
        .max_light_lines(0)
        .x_desc(&chart.x)
        .y_desc(&chart.y)
        .x_labels(20)
        .y_labels(20)
        .x_label_formatter(&|at| x.label(*at))
        .y_label_formatter(&|at| y.label(*at))
        .label_style(("sans-serif", 15).into_font().color(&SOFT))
        .axis_desc_style(("sans-serif", 15).into_font().color(&SOFT))
        .draw()
        .map_err(said)?;
    for (at, series) in chart.series.iter().enumerate() {
        line(&mut context, series, COLOURS[at % COLOURS.len()], &x, &y)?;
    }
    Ok(())
}

fn line(
    context: &mut ChartContext<'_, SVGBackend<'_>, Cartesian2d<Scale, Scale>>,
    series: &Series,
    colour: RGBColor,
    x: &Scale,
    y: &Scale,
) -> Result<(), String> {
    let place = |point: &Point| (x.place(point.x), y.place(point.y));
    let thick = if series.tone == Tone::Aside { 1 } else { 2 };
    for point in &series.points {
        let spread = vec![(x.place(point.x), y.place(point.least)), (x.place(point.x), y.place(point.most))];
        context.draw_series([PathElement::new(spread, colour.mix(0.45).stroke_width(1))]).map_err(said)?;
    }
    let path = series.points.iter().map(place);
    context.draw_series(LineSeries::new(path, colour.stroke_width(thick))).map_err(said)?;
    let dots = series.points.iter().map(|point| Circle::new(place(point), 3, colour.filled()));
    context.draw_series(dots).map_err(said)?;
    Ok(())
}

/// Which series stand in which line of the legend.
fn legend_lines(chart: &Chart) -> Vec<Vec<usize>> {
    let mut lines: Vec<Vec<usize>> = Vec::new();
    let mut used = WIDTH;
    for (at, series) in chart.series.iter().enumerate() {
        let width = legend_width(&shortened(&series.name));
        if used + width > WIDTH - MARGIN {
            lines.push(Vec::new());
            used = MARGIN;
        }
        used += width;
        if let Some(line) = lines.last_mut() {
            line.push(at);
        }
    }
    lines
}

/// A square, a name in letters of 17, and a space.
fn legend_width(name: &str) -> i32 {
    16 + units(name.chars().count()) * 9 + 16
}

fn shortened(name: &str) -> String {
    if name.chars().count() <= LETTERS {
        return name.to_owned();
    }
    name.chars().take(LETTERS - 1).chain(['…']).collect()
}

/// A count of things that are drawn; more than fit any screen are not.
fn units(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX).min(10_000)
}

#[expect(clippy::cast_possible_truncation, reason = "a place within the chart")]
fn pixel(value: f64) -> i32 {
    value.round() as i32
}

/// One axis: where values lie, and which are written.
#[derive(Clone)]
struct Scale {
    logarithmic: bool,
    range: Range<f64>,
    ticks: Vec<f64>,
}

impl Scale {
    fn across(chart: &Chart) -> Self {
        let values: Vec<f64> = points(chart).map(|point| point.x).collect();
        match chart.kind {
            Kind::LinesLogX | Kind::LinesLogLog => {
                let mut ticks = values.clone();
                ticks.sort_by(f64::total_cmp);
                ticks.dedup();
                let few = ticks.len() <= 10;
                let ticks = if few { ticks } else { decades(&values) };
                Self::logarithmic(&values, ticks)
            }
            Kind::Bars | Kind::Lines => Self::linear(&values),
        }
    }

    fn up(chart: &Chart) -> Self {
        let values: Vec<f64> = points(chart).flat_map(|point| [point.y, point.least, point.most]).collect();
        match chart.kind {
            Kind::LinesLogLog => Self::logarithmic(&values, decades(&values)),
            Kind::Bars | Kind::Lines | Kind::LinesLogX => Self::linear(&values),
        }
    }

    /// From nothing to a round number above all values.
    fn linear(values: &[f64]) -> Self {
        let most = values.iter().copied().fold(0.0, f64::max).max(f64::MIN_POSITIVE);
        let step = round_step(most / 5.0);
        let steps = (most / step).ceil().max(1.0);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a handful of steps")]
        let ticks = (0..=steps as u32).map(|n| f64::from(n) * step).collect();
        Self { logarithmic: false, range: 0.0..step * steps, ticks }
    }

    fn logarithmic(values: &[f64], ticks: Vec<f64>) -> Self {
        let above = values.iter().copied().filter(|value| *value > 0.0);
        let (least, most) =
            above.fold((f64::MAX, f64::MIN_POSITIVE), |(least, most), value| (least.min(value), most.max(value)));
        let (least, most) = if least > most { (1.0, 10.0) } else { (least, most) };
        let (low, high) = (least.log10(), most.log10());
        let room = ((high - low) * 0.06).max(0.05);
        let range = low - room..high + room;
        let ticks = ticks.into_iter().filter(|tick| *tick > 0.0).map(f64::log10);
        Self { logarithmic: true, ticks: ticks.filter(|tick| range.contains(tick)).collect(), range }
    }

    fn place(&self, value: f64) -> f64 {
        let place = if self.logarithmic { value.max(f64::MIN_POSITIVE).log10() } else { value };
        place.clamp(self.range.start, self.range.end)
    }

    fn label(&self, place: f64) -> String {
        let value = if self.logarithmic { 10_f64.powf(place) } else { place };
        match value.abs() {
            size if size >= 1e6 => format!("{}M", figure(value / 1e6)),
            size if size >= 1e4 => format!("{}k", figure(value / 1e3)),
            _ => plain(value),
        }
    }
}

impl Ranged for Scale {
    type FormatOption = DefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, (from, to): (i32, i32)) -> i32 {
        let share = (value - self.range.start) / (self.range.end - self.range.start);
        from + pixel(f64::from(to - from) * share)
    }

    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<f64> {
        if hint.weight().allow_light_points() { Vec::new() } else { self.ticks.clone() }
    }

    fn range(&self) -> Range<f64> {
        self.range.clone()
    }
}

/// A number without zeros that say nothing.
fn plain(value: f64) -> String {
    let text = format!("{value:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn points(chart: &Chart) -> impl Iterator<Item = &Point> {
    chart.series.iter().flat_map(|series| &series.points)
}

/// 1, 2 and 5 times powers of ten.
fn round_step(least: f64) -> f64 {
    let power = 10_f64.powf(least.log10().floor());
    [1.0, 2.0, 5.0].into_iter().map(|factor| factor * power).find(|step| *step >= least).unwrap_or(10.0 * power)
}

/// 1, 2 and 5 times powers of ten around the values; powers alone where they span many.
fn decades(values: &[f64]) -> Vec<f64> {
    let above = values.iter().copied().filter(|value| *value > 0.0);
    let (least, most) =
        above.fold((f64::MAX, f64::MIN_POSITIVE), |(least, most), value| (least.min(value), most.max(value)));
    #[expect(clippy::cast_possible_truncation, reason = "exponents of figures")]
    let exponents = least.log10().floor() as i32..=most.log10().ceil() as i32;
    let factors: &[f64] = if exponents.clone().count() > 4 { &[1.0] } else { &[1.0, 2.0, 5.0] };
    exponents.flat_map(|exponent| factors.iter().map(move |factor| factor * 10_f64.powi(exponent))).collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::sample;
    use super::*;

    fn chart(kind: Kind) -> Chart {
        Chart { kind, ..sample().sections[0].charts[0].clone() }
    }

    #[test]
    fn every_kind_is_drawn_the_same_every_time() {
        for kind in [Kind::Bars, Kind::Lines, Kind::LinesLogX, Kind::LinesLogLog] {
            let drawn = svg(&chart(kind)).unwrap();
            assert_eq!(drawn, svg(&chart(kind)).unwrap(), "{kind:?}");
            for part in ["<svg", "viewBox", "Throughput", "ours", "</svg>"] {
                assert!(drawn.contains(part), "{kind:?}: {part}: {drawn}");
            }
        }
    }

    #[test]
    fn names_do_not_become_markup() {
        let mut chart = chart(Kind::Bars);
        chart.series[0].name = "<script>&".to_owned();
        let drawn = svg(&chart).unwrap();
        assert!(!drawn.contains("<script>") && drawn.contains("&lt;script&gt;&amp;"), "{drawn}");
    }

    #[test]
    fn nothing_to_draw_is_an_empty_chart_and_no_fault() {
        for kind in [Kind::Bars, Kind::Lines, Kind::LinesLogX, Kind::LinesLogLog] {
            for series in [Vec::new(), vec![Series { name: "n".into(), tone: Tone::Plain, points: Vec::new() }]] {
                assert!(svg(&Chart { series, ..chart(kind) }).is_ok(), "{kind:?}");
            }
        }
    }

    #[test]
    fn steps_are_round() {
        for (least, step) in [(0.9, 1.0), (1.1, 2.0), (3.0, 5.0), (6.0, 10.0), (0.021, 0.05)] {
            assert!((round_step(least) - step).abs() < 1e-12, "{least}");
        }
    }
}
