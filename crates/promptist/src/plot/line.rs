//! Lines over a common axis, with bands.

use plotters::prelude::*;

use super::{COLOURS, RULE, bounds, margin, number};
use crate::error::{Error, Result};

/// A chart of one or more lines over a common axis.
#[derive(Debug, Clone, PartialEq)]
pub struct LineChart<'a> {
    /// What stands above it.
    pub title: &'a str,
    /// What the horizontal axis counts.
    pub x_label: &'a str,
    /// Width and height in pixels.
    pub size: (u32, u32),
    /// Drawn in order, so that later lines lie on top.
    pub lines: Vec<Line>,
}

/// One line of a chart.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    /// Its name in the legend.
    pub name: String,
    /// `(x, y)`, from left to right; what is not finite is left out.
    pub points: Vec<(f64, f64)>,
    /// A pale band from low to high around it: `(x, low, high)`, from left to right; may be empty.
    pub band: Vec<(f64, f64, f64)>,
    /// How it is drawn.
    pub style: LineStyle,
}

/// How a line is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LineStyle {
    /// Thin and grey: what was measured at every step.
    Raw,
    /// Thick: what to look at.
    Main,
    /// Thick, with a dot at each point: what was measured now and then.
    Dotted,
}

/// Pixels of height that a legend takes for each line, and for its frame.
const LEGEND_ROW: f64 = 17.0;
/// Pixels of a chart's height that are not the plot: title, margins, axis.
const AXES: u32 = 90;
const GREY: RGBColor = RGBColor(190, 196, 204);
impl LineChart<'_> {
    /// The chart as an SVG element; none if no line has a finite point.
    ///
    /// # Errors
    /// [`Error::Config`] if it cannot be drawn.
    pub fn to_svg(&self) -> Result<Option<String>> {
        let points = || self.lines.iter().flat_map(Line::extent);
        let Some(((x_min, x_max), (y_min, y_max))) = bounds(points()) else { return Ok(None) };
        let (x_margin, y_margin) = (margin(x_min, x_max), 0.05 * margin(y_min, y_max));
        let x_max = if x_max > x_min { x_max } else { x_max + x_margin };
        // Room above the lines for the legend, so that it covers none.
        let rows = if self.lines.len() > 1 { self.lines.len() as f64 + 1.0 } else { 0.0 };
        let legend = (rows * LEGEND_ROW / f64::from(self.size.1 - AXES)).min(0.5);
        let y_max = y_max + legend / (1.0 - legend) * margin(y_min, y_max);

        let mut svg = String::new();
        self.draw(&mut svg, x_min..x_max, (y_min - y_margin)..(y_max + y_margin))
            .map_err(|e| Error::config("chart", e.to_string()))?;
        Ok(Some(svg))
    }

    fn draw(
        &self,
        svg: &mut String,
        x: std::ops::Range<f64>,
        y: std::ops::Range<f64>,
    ) -> std::result::Result<(), Box<dyn std::error::Error + 'static>> {
        let root = SVGBackend::with_string(svg, self.size).into_drawing_area();
        root.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&root)
            .caption(self.title, ("sans-serif", 18))
            .margin(12)
            .x_label_area_size(36)
            .y_label_area_size(64)
            .build_cartesian_2d(x, y)?;
        chart
            .configure_mesh()
            .x_desc(self.x_label)
            .light_line_style(TRANSPARENT)
            .bold_line_style(RULE)
            .x_label_formatter(&|x| number(*x))
            .y_label_formatter(&|y| number(*y))
            .draw()?;
        let mut colours = COLOURS.iter().cycle();
        let mut drawn = Vec::with_capacity(self.lines.len());
        for line in &self.lines {
            let (colour, width) = match line.style {
                LineStyle::Raw => (&GREY, 1),
                LineStyle::Main | LineStyle::Dotted => (colours.next().unwrap_or(&BLACK), 2),
            };
            // Bands first: no line is to lie under one.
            let outline = line.outline();
            if !outline.is_empty() {
                chart.draw_series([Polygon::new(outline, colour.mix(0.15))])?;
            }
            drawn.push((line, colour, width));
        }
        for (line, colour, width) in drawn {
            let stroke = colour.stroke_width(width);
            chart
                .draw_series(LineSeries::new(finite(&line.points), stroke))?
                .label(&line.name)
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], stroke));
            if line.style == LineStyle::Dotted {
                chart
                    .draw_series(finite(&line.points).map(|point| Circle::new(point, 3, colour.filled())))?;
            }
        }
        if self.lines.len() > 1 {
            chart
                .configure_series_labels()
                .position(SeriesLabelPosition::UpperRight)
                .background_style(WHITE.mix(0.85))
                .border_style(RULE)
                .draw()?;
        }
        root.present()?;
        Ok(())
    }
}

impl Line {
    /// Every point that the axes have to hold.
    fn extent(&self) -> impl Iterator<Item = (f64, f64)> {
        let band = self.finite_band().flat_map(|(x, low, high)| [(x, low), (x, high)]);
        finite(&self.points).chain(band)
    }

    /// The band's edge: along the top, and back along the bottom.
    fn outline(&self) -> Vec<(f64, f64)> {
        let top = self.finite_band().map(|(x, _, high)| (x, high));
        let bottom: Vec<_> = self.finite_band().map(|(x, low, _)| (x, low)).collect();
        top.chain(bottom.into_iter().rev()).collect()
    }

    fn finite_band(&self) -> impl Iterator<Item = (f64, f64, f64)> {
        self.band.iter().copied().filter(|(x, low, high)| (x + low + high).is_finite())
    }
}

fn finite(points: &[(f64, f64)]) -> impl Iterator<Item = (f64, f64)> {
    points.iter().copied().filter(|(x, y)| x.is_finite() && y.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plot::FULL;

    fn chart(points: Vec<(f64, f64)>) -> Option<String> {
        let line = Line { name: "loss <a & b>".into(), points, band: Vec::new(), style: LineStyle::Dotted };
        draw(vec![line.clone(), line])
    }

    fn draw(lines: Vec<Line>) -> Option<String> {
        LineChart { title: "loss", x_label: "step", size: FULL, lines }.to_svg().expect("draws")
    }

    #[test]
    fn a_band_goes_around_its_line_and_the_axes_hold_it() {
        let band = vec![(1.0, 4.0, 6.0), (2.0, f64::NAN, 5.0), (3.0, 3.0, 50_000.0)];
        let points = vec![(1.0, 5.0), (3.0, 4.0)];
        let line = Line { name: "reward".into(), points, band, style: LineStyle::Main };
        assert_eq!(line.outline(), [(1.0, 6.0), (3.0, 50_000.0), (3.0, 3.0), (1.0, 4.0)]);
        let svg = draw(vec![line]).expect("has points");
        assert!(svg.contains("<polygon") && svg.contains("50k") && !svg.contains("NaN"), "{svg}");
    }

    #[test]
    fn a_chart_is_one_svg_element_with_its_names_escaped() {
        let svg = chart(vec![(1.0, 5.0), (2.0, f64::NAN), (3.0, 4.0)]).expect("has points");
        assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"), "{svg}");
        assert!(svg.contains("loss &lt;a &amp; b&gt;") && !svg.contains("NaN"), "{svg}");
        assert_eq!(svg.matches("<circle").count(), 4);
    }

    #[test]
    fn nothing_and_a_single_point_are_no_trouble() {
        assert_eq!(chart(vec![]), None);
        assert_eq!(chart(vec![(1.0, f64::INFINITY)]), None);
        for y in [0.0, -3.0, 1e300, 1e-300] {
            assert!(chart(vec![(7.0, y)]).is_some(), "{y}");
        }
    }
}
