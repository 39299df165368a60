//! Points with intervals both ways: two measures of the same things against each other.

use plotters::prelude::*;

use super::{COLOURS, RULE, bounds, number};
use crate::error::{Error, Result};

/// Radius of a point in pixels.
const RADIUS: i32 = 4;
/// Share of the axes that is left free beyond the outermost interval; names stand there too.
const FREE: f64 = 0.12;

/// One measure against another.
#[derive(Debug, Clone, PartialEq)]
pub struct Scatter<'a> {
    /// What stands above it.
    pub title: &'a str,
    /// The measure that the horizontal axis shows.
    pub x_label: &'a str,
    /// The measure that the vertical axis shows.
    pub y_label: &'a str,
    /// Width and height in pixels.
    pub size: (u32, u32),
    /// Those with a number that is not finite are left out.
    pub points: Vec<ScatterPoint>,
}

/// A point.
#[derive(Debug, Clone, PartialEq)]
pub struct ScatterPoint {
    /// Its name, written beside it.
    pub name: String,
    /// Low end, value and high end along the horizontal axis.
    pub x: [f64; 3],
    /// The same along the vertical axis.
    pub y: [f64; 3],
}

impl Scatter<'_> {
    /// The chart as an SVG element; none if no point is finite.
    ///
    /// # Errors
    /// [`Error::Config`] if it cannot be drawn.
    pub fn to_svg(&self) -> Result<Option<String>> {
        let ends = self.finite().flat_map(|point| (0..3).map(|end| (point.x[end], point.y[end])));
        let Some((x, y)) = bounds(ends) else { return Ok(None) };
        let mut svg = String::new();
        self.draw(&mut svg, widened(x), widened(y)).map_err(|e| Error::config("chart", e.to_string()))?;
        Ok(Some(svg))
    }

    fn finite(&self) -> impl Iterator<Item = &ScatterPoint> {
        self.points.iter().filter(|point| point.x.iter().chain(&point.y).all(|value| value.is_finite()))
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
            .x_label_area_size(40)
            .y_label_area_size(72)
            .build_cartesian_2d(x, y)?;
        chart
            .configure_mesh()
            .x_desc(self.x_label)
            .y_desc(self.y_label)
            .light_line_style(TRANSPARENT)
            .bold_line_style(RULE)
            .x_label_formatter(&|x| number(*x))
            .y_label_formatter(&|y| number(*y))
            .draw()?;
        for (point, colour) in self.finite().zip(COLOURS.iter().cycle()) {
            let [x_low, x, x_high] = point.x;
            let [y_low, y, y_high] = point.y;
            let stroke = colour.stroke_width(2);
            chart.draw_series(
                [[(x_low, y), (x_high, y)], [(x, y_low), (x, y_high)]]
                    .map(|ends| PathElement::new(ends, stroke)),
            )?;
            chart.draw_series([EmptyElement::at((x, y))
                + Circle::new((0, 0), RADIUS, colour.filled())
                + Text::new(
                    point.name.clone(),
                    (RADIUS + 4, -RADIUS - 14),
                    ("sans-serif", 14).into_font().color(colour),
                )])?;
        }
        root.present()?;
        Ok(())
    }
}

/// A range with room around it, even around a single value.
fn widened((low, high): (f64, f64)) -> std::ops::Range<f64> {
    let room = FREE * super::margin(low, high);
    (low - room)..(high + room)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scatter(points: Vec<ScatterPoint>) -> Option<String> {
        let chart =
            Scatter { title: "a <b>", x_label: "relevance", y_label: "aesthetic", size: (560, 300), points };
        chart.to_svg().expect("draws")
    }

    #[test]
    fn points_carry_names_and_intervals() {
        let point = |name: &str, x: f64| ScatterPoint {
            name: name.into(),
            x: [x - 0.1, x, x + 0.1],
            y: [5.0, 5.5, 6.0],
        };
        let svg =
            scatter(vec![point("x & y", 0.2), point("z", 0.4), point("gone", f64::NAN)]).expect("has points");
        assert_eq!(svg.matches("<circle").count(), 2);
        assert!(svg.contains("x &amp; y") && svg.contains("a &lt;b&gt;") && !svg.contains("gone"), "{svg}");
    }

    #[test]
    fn one_point_and_none_are_no_trouble() {
        assert_eq!(scatter(Vec::new()), None);
        let point = ScatterPoint { name: "a".into(), x: [0.0; 3], y: [1.0; 3] };
        assert!(scatter(vec![point]).is_some());
    }
}
