//! Plots as SVG: points with intervals or lines over two axes, and marks for goals. Small enough that no library is worth it.

mod scale;

use std::fmt::Write;

pub(super) use scale::Scale;

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 420.0;
/// Around the axes: left, right, top, bottom.
const MARGINS: [f64; 4] = [72.0, 150.0, 40.0, 56.0];
/// Colours that people with any colour vision tell apart (M. Okabe and K. Ito, "Color universal design", 2008).
const COLOURS: [&str; 6] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"];
const GOAL_COLOUR: &str = "#b00020";
/// Height of a line of the legend.
const LEGEND_LINE: f64 = 20.0;
/// How far points of different series with the same x stand apart.
const APART: f64 = 7.0;

/// A picture.
#[derive(Clone, Debug)]
pub(super) struct Plot {
    pub(super) title: String,
    pub(super) x: Axis,
    pub(super) y: Axis,
    pub(super) series: Vec<Series>,
    pub(super) goals: Vec<Mark>,
}

#[derive(Clone, Debug)]
pub(super) struct Axis {
    pub(super) label: String,
    pub(super) scale: Scale,
}

#[derive(Clone, Debug)]
pub(super) struct Series {
    pub(super) name: String,
    pub(super) shape: Shape,
}

#[derive(Clone, Debug)]
pub(super) enum Shape {
    /// Measured values.
    Points(Vec<Point>),
    /// A line through (x, y).
    Line(Vec<(f64, f64)>),
}

/// A value with its interval.
#[derive(Clone, Copy, Debug)]
pub(super) struct Point {
    pub(super) x: f64,
    pub(super) y: f64,
    pub(super) low: f64,
    pub(super) high: f64,
}

/// Where a goal lies.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark {
    pub(super) x: f64,
    pub(super) y: f64,
}

// === impl Plot ===

impl Plot {
    /// The picture's text.
    pub(super) fn svg(&self) -> String {
        let mut svg = String::new();
        let head =
            format!(r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="13">"#);
        add(&mut svg, &head);
        add(&mut svg, &format!(r##"<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>"##));
        text(&mut svg, (MARGINS[0], 24.0), r#"font-size="15" font-weight="bold""#, &self.title);
        self.draw_axes(&mut svg);
        for (number, series) in self.series.iter().enumerate() {
            self.draw_series(&mut svg, number, series);
        }
        for goal in &self.goals {
            self.draw_goal(&mut svg, *goal);
        }
        self.draw_legend(&mut svg);
        add(&mut svg, "</svg>");
        svg
    }

    fn horizontal(&self, value: f64) -> f64 {
        MARGINS[0] + self.x.scale.place(value).clamp(0.0, 1.0) * (WIDTH - MARGINS[0] - MARGINS[1])
    }

    fn vertical(&self, value: f64) -> f64 {
        HEIGHT - MARGINS[3] - self.y.scale.place(value).clamp(0.0, 1.0) * (HEIGHT - MARGINS[2] - MARGINS[3])
    }

    fn draw_axes(&self, svg: &mut String) {
        let (left, right, top, bottom) = (MARGINS[0], WIDTH - MARGINS[1], MARGINS[2], HEIGHT - MARGINS[3]);
        for tick in self.x.scale.ticks() {
            let x = self.horizontal(tick);
            line(svg, (x, top), (x, bottom), r##"stroke="#e4e4e4""##);
            text(svg, (x, bottom + 18.0), r#"text-anchor="middle""#, &number(tick));
        }
        for tick in self.y.scale.ticks() {
            let y = self.vertical(tick);
            line(svg, (left, y), (right, y), r##"stroke="#e4e4e4""##);
            text(svg, (left - 8.0, y + 4.0), r#"text-anchor="end""#, &number(tick));
        }
        line(svg, (left, bottom), (right, bottom), r##"stroke="#333333""##);
        line(svg, (left, top), (left, bottom), r##"stroke="#333333""##);
        text(svg, ((left + right) / 2.0, HEIGHT - 14.0), r#"text-anchor="middle""#, &self.x.label);
        let middle = (top + bottom) / 2.0;
        text(svg, (18.0, middle), &format!(r#"text-anchor="middle" transform="rotate(-90 18 {middle})""#), &self.y.label);
    }

    fn draw_series(&self, svg: &mut String, index: usize, series: &Series) {
        let colour = colour(index);
        match &series.shape {
            Shape::Points(points) => {
                // The middle series stands at its value, the others beside it.
                let aside = (index as f64 - (self.series.len() as f64 - 1.0) / 2.0) * APART;
                points.iter().for_each(|point| self.draw_point(svg, *point, aside, colour));
            }
            Shape::Line(places) => {
                let places: Vec<String> =
                    places.iter().map(|(x, y)| format!("{:.1},{:.1}", self.horizontal(*x), self.vertical(*y))).collect();
                add(svg, &format!(r#"<polyline points="{}" fill="none" stroke="{colour}" stroke-width="2"/>"#, places.join(" ")));
            }
        }
    }

    fn draw_point(&self, svg: &mut String, point: Point, aside: f64, colour: &str) {
        const CAP: f64 = 4.0;
        let (x, y) = (self.horizontal(point.x) + aside, self.vertical(point.y));
        let (low, high) = (self.vertical(point.low), self.vertical(point.high));
        let stroke = format!(r#"stroke="{colour}" stroke-width="1.5""#);
        line(svg, (x, low), (x, high), &stroke);
        line(svg, (x - CAP, low), (x + CAP, low), &stroke);
        line(svg, (x - CAP, high), (x + CAP, high), &stroke);
        add(svg, &format!(r#"<circle cx="{x:.1}" cy="{y:.1}" r="4" fill="{colour}"/>"#));
    }

    /// A diamond.
    fn draw_goal(&self, svg: &mut String, goal: Mark) {
        diamond(svg, self.horizontal(goal.x), self.vertical(goal.y));
    }

    fn draw_legend(&self, svg: &mut String) {
        let x = WIDTH - MARGINS[1] + 16.0;
        let mut y = MARGINS[2] + 8.0;
        for (index, series) in self.series.iter().enumerate() {
            let colour = colour(index);
            add(svg, &format!(r#"<rect x="{x}" y="{:.1}" width="12" height="12" fill="{colour}"/>"#, y - 10.0));
            text(svg, (x + 18.0, y), "", &series.name);
            y += LEGEND_LINE;
        }
        if !self.goals.is_empty() {
            diamond(svg, x + 6.0, y - 4.0);
            text(svg, (x + 18.0, y), "", "goal");
        }
    }
}

fn colour(index: usize) -> &'static str {
    COLOURS[index % COLOURS.len()]
}

fn diamond(svg: &mut String, x: f64, y: f64) {
    const HALF: f64 = 6.0;
    let corners = [(x, y - HALF), (x + HALF, y), (x, y + HALF), (x - HALF, y)].map(|(x, y)| format!("{x:.1},{y:.1}"));
    add(svg, &format!(r#"<polygon points="{}" fill="none" stroke="{GOAL_COLOUR}" stroke-width="2"/>"#, corners.join(" ")));
}

fn line(svg: &mut String, from: (f64, f64), to: (f64, f64), style: &str) {
    add(svg, &format!(r#"<line x1="{:.1}" y1="{:.1}" x2="{:.1}" y2="{:.1}" {style}/>"#, from.0, from.1, to.0, to.1));
}

fn text(svg: &mut String, at: (f64, f64), style: &str, words: &str) {
    let words = words.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    add(svg, &format!(r##"<text x="{:.1}" y="{:.1}" fill="#222222" {style}>{words}</text>"##, at.0, at.1));
}

fn add(svg: &mut String, element: &str) {
    writeln!(svg, "{element}").expect("a text takes every text");
}

/// A number without the digits that a step's rounding adds.
fn number(value: f64) -> String {
    let text = format!("{value:.4}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0".to_owned() } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plot() -> Plot {
        Plot {
            title: "a < b".to_owned(),
            x: Axis { label: "x".to_owned(), scale: Scale::linear_between(0.0, 10.0) },
            y: Axis { label: "y".to_owned(), scale: Scale::linear_between(0.0, 1.0) },
            series: vec![
                Series { name: "line".to_owned(), shape: Shape::Line(vec![(0.0, 0.0), (10.0, 1.0)]) },
                Series { name: "points".to_owned(), shape: Shape::Points(vec![Point { x: 5.0, y: 0.5, low: 0.25, high: 0.75 }]) },
            ],
            goals: vec![Mark { x: 10.0, y: 0.0 }],
        }
    }

    #[test]
    fn the_corners_of_the_axes_are_where_the_margins_end() {
        let plot = plot();
        assert_eq!((plot.horizontal(0.0), plot.horizontal(10.0)), (72.0, 610.0));
        assert_eq!((plot.vertical(0.0), plot.vertical(1.0)), (364.0, 40.0));
        assert_eq!(plot.vertical(7.0), 40.0, "what the axis does not hold stands at its end");
    }

    #[test]
    fn everything_is_drawn_and_words_are_escaped() {
        let svg = plot().svg();
        assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
        assert!(svg.contains("a &lt; b"));
        assert!(svg.contains(r#"<polyline points="72.0,364.0 610.0,40.0""#), "{svg}");
        assert!(svg.contains(r#"cy="202.0""#) && svg.contains("goal"), "{svg}");
        assert_eq!(svg.matches('<').count() - svg.matches("</text>").count(), svg.lines().count());
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!([1.0, 0.1 + 0.2, 1.005, 0.0, -1e-12].map(number), ["1", "0.3", "1.005", "0", "0"]);
    }
}
