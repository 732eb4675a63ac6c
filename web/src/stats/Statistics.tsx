// The numbers and plots.

import { Chart } from './Chart';
import { formatted } from './formatted';
import { type Plot, PLOTS } from './metrics';
import { type Point, useHistory } from './useHistory';

export function Statistics() {
  const { series, troubles } = useHistory();
  return (
    <>
      <header className="top">
        <a href="/" className="brand">
          <img src="/favicon.svg" alt="" width="28" height="28" />
          Rejoinder
        </a>
        <nav aria-label="Tools">
          <a href="/graphql">GraphiQL</a>
          <a href="/stats.html" aria-current="page">
            Statistics
          </a>
        </nav>
      </header>
      <main className="statistics">
        <h1>Statistics</h1>
        <p className="lead">
          The last minutes, since you opened the page, from the <a href="/metrics">metrics</a> of the gateway
          and of the <a href="/metrics/posts">posts</a>.
        </p>
        <p className="trouble" role="status">
          {troubles.length > 0 && `${troubles.join(' ')} Trying again.`}
        </p>
        <div className="plots">
          {PLOTS.map((plot, index) => (
            <PlotCard key={plot.title} plot={plot} points={series[index] ?? []} />
          ))}
        </div>
      </main>
      <footer className="foot">
        <nav aria-label="Tools">
          <a href="/">Posts</a>
          <a href="/graphql">GraphiQL</a>
        </nav>
      </footer>
    </>
  );
}

function PlotCard({ plot, points }: { plot: Plot; points: Point[] }) {
  const now = points.at(-1);
  const shown = now === undefined ? '–' : formatted(now);
  return (
    <section className="plot">
      <h2>{plot.title}</h2>
      <p className="now">
        {shown}
        <small>{now === undefined ? plot.nothing : plot.unit}</small>
      </p>
      <p className="explanation">{plot.explanation}</p>
      <Chart
        points={points}
        unit={plot.unit}
        label={`${plot.title} over the last minutes, now ${shown} ${plot.unit}`}
      />
    </section>
  );
}
