// The numbers and plots.

import { Chart } from './Chart';
import { PLOTS } from './metrics';
import { useHistory } from './useHistory';

export function Statistics() {
  const { series, error } = useHistory();
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
          What this gateway has done since you opened the page, from its <a href="/metrics">metrics</a>.
        </p>
        <p className="trouble" role="status">
          {error && `${error} Trying again.`}
        </p>
        <div className="plots">
          {PLOTS.map((plot, index) => {
            const values = series[index] ?? [];
            if (plot.optional && values.length === 0) return null;
            const now = values.at(-1);
            const shown = now === undefined ? '–' : format(now);
            return (
              <section key={plot.title} className="plot">
                <h2>{plot.title}</h2>
                <p className="now">
                  {shown}
                  <small>{plot.unit}</small>
                </p>
                <p className="explanation">{plot.explanation}</p>
                <Chart
                  values={values}
                  label={`${plot.title} over the last minutes, now ${shown} ${plot.unit}`}
                />
              </section>
            );
          })}
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

function format(value: number): string {
  return value.toLocaleString('en', { maximumFractionDigits: value < 10 ? 1 : 0 });
}
