//! A report as one page that needs nothing else: no script, no other file, wide or narrow, light on paper.
//!
//! Pure. It must not know what is reported.

use std::fmt::Write;

use super::chart::{self, ChartError};
use super::{Fact, Report, Row, Section, Table, Tone};

const STYLE: &str = include_str!("page.css");

/// The whole page.
///
/// # Errors
/// [`ChartError`].
pub fn page(report: &Report) -> Result<String, ChartError> {
    let title = escaped(&report.title);
    let mut text = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<header>\n<h1>{title}</h1>\n\
         <p class=\"command\"><code>{}</code></p>\n",
        escaped(&report.command)
    );
    text.push_str(&facts(&report.machine, "machine"));
    text.push_str("</header>\n");
    if report.sections.len() > 1 {
        text.push_str("<nav>\n");
        for section in &report.sections {
            let _ = writeln!(text, "<a href=\"#{}\">{}</a>", escaped(&section.id), escaped(&section.title));
        }
        text.push_str("</nav>\n");
    }
    text.push_str("<main>\n");
    for section in &report.sections {
        text.push_str(&self::section(section)?);
    }
    let _ = write!(text, "</main>\n<footer>Measured in {:.0} s.</footer>\n</body>\n</html>\n", report.took_s);
    Ok(text)
}

fn section(section: &Section) -> Result<String, ChartError> {
    let mut text = format!(
        "<section id=\"{}\">\n<h2>{}</h2>\n<p class=\"question\">{}</p>\n",
        escaped(&section.id),
        escaped(&section.title),
        escaped(&section.question)
    );
    let warning = section.loaded.as_ref().map(|loaded| format!("<p><strong>{}</strong></p>\n", escaped(loaded)));
    let warning = warning.unwrap_or_default();
    text.push_str(&warning);
    if !section.findings.is_empty() {
        text.push_str(&list(&section.findings, "findings"));
    }
    if !section.settings.is_empty() {
        let block = escaped(&section.settings_block());
        let _ = write!(text, "<h3>Settings to paste</h3>\n<pre>{block}</pre>\n");
    }
    if !section.charts.is_empty() {
        text.push_str("<div class=\"charts\">\n");
        for one in &section.charts {
            let _ = writeln!(
                text,
                "<figure role=\"img\" aria-label=\"{}\">{}</figure>",
                escaped(&one.title),
                chart::svg(one)?
            );
        }
        text.push_str("</div>\n");
    }
    for table in &section.tables {
        text.push_str(&warning);
        text.push_str(&self::table(table));
    }
    if !(section.setup.is_empty() && section.notes.is_empty()) {
        let _ = write!(
            text,
            "<details>\n<summary>How it was measured</summary>\n{}{}</details>\n",
            facts(&section.setup, "setup"),
            list(&section.notes, "notes")
        );
    }
    text.push_str("</section>\n");
    Ok(text)
}

fn list(sentences: &[String], class: &str) -> String {
    let mut text = format!("<ul class=\"{class}\">\n");
    for sentence in sentences {
        let _ = writeln!(text, "<li>{}</li>", escaped(sentence));
    }
    text.push_str("</ul>\n");
    text
}

fn facts(facts: &[Fact], class: &str) -> String {
    let rows = facts
        .iter()
        .map(|fact| format!("<div><dt>{}</dt><dd>{}</dd></div>\n", escaped(&fact.name), escaped(&fact.value)));
    format!("<dl class=\"{class}\">\n{}</dl>\n", rows.collect::<String>())
}

fn table(table: &Table) -> String {
    let title = if table.title.is_empty() { String::new() } else { format!("<h3>{}</h3>\n", escaped(&table.title)) };
    // Reasons want room; figures do not.
    let noted = if table.columns.last().is_some_and(|column| column == "note") { " class=\"noted\"" } else { "" };
    let heads = table.columns.iter().map(|column| format!("<th scope=\"col\">{}</th>", escaped(column)));
    let rows = table.rows.iter().map(|Row { cells, tone }| {
        let class = match tone {
            Tone::Best => " class=\"best\"",
            Tone::Aside => " class=\"aside\"",
            Tone::Plain => "",
        };
        let blank = cells.iter().skip(1).take_while(|cell| *cell != "-").count() + 1;
        let dashes = cells.iter().skip(blank).take_while(|cell| *cell == "-").count();
        // Where nothing but a reason is left, it gets the room of the figures that are missing.
        let spans = dashes > 1 && blank + dashes + 1 == cells.len();
        let cells = cells.iter().enumerate().map(|(at, cell)| match at {
            0 => format!("<th scope=\"row\">{}</th>", escaped(cell)),
            _ if spans && (blank..blank + dashes).contains(&at) => String::new(),
            _ if spans && at == blank + dashes => format!("<td colspan=\"{}\">{}</td>", dashes + 1, escaped(cell)),
            _ => format!("<td>{}</td>", escaped(cell)),
        });
        format!("<tr{class}>{}</tr>\n", cells.collect::<String>())
    });
    format!(
        "{title}<div class=\"scroll\" tabindex=\"0\"><table{noted}>\n<thead><tr>{}</tr></thead>\n<tbody>\n{}</tbody>\n</table></div>\n",
        heads.collect::<String>(),
        rows.collect::<String>()
    )
}

/// A text that is no markup.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for one in text.chars() {
        match one {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            _ => safe.push(one),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::super::tests::sample;
    use super::*;

    #[test]
    fn a_reason_takes_the_room_of_the_figures_that_are_missing() {
        let mut table = Table::new("", &["backend", "arithmetic", "pairs/s", "p99 ms", "note"]);
        let cells = |cells: [&str; 5]| cells.map(str::to_owned).to_vec();
        table.push(Tone::Aside, cells(["mps", "fp16", "-", "-", "needs macOS"]));
        table.push(Tone::Plain, cells(["ours", "fp32", "10", "-", "v 1"]));
        let text = self::table(&table);
        assert!(text.contains("<td>fp16</td><td colspan=\"3\">needs macOS</td>"), "{text}");
        assert!(text.contains("<td>10</td><td>-</td><td>v 1</td>"), "{text}");
    }

    #[test]
    fn the_page_stands_alone_and_holds_everything() {
        let page = page(&sample()).unwrap();
        for part in
            ["ours is fastest", "RESCORED_PRECISION=int8", "<svg", "viewport", "a &amp; b", "needs &lt;macOS&gt;"]
        {
            assert!(page.contains(part), "{part}");
        }
        for foreign in ["<script", "src=", "href=\"http", "@import", "url("] {
            assert!(!page.contains(foreign), "{foreign}: the page needs something else");
        }
    }
}
