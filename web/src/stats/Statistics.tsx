// The numbers and plots.

import { Chart, withUnit } from './Chart';
import { Errors } from './Errors';
import { type Plot, PLOTS, SOURCE_NAMES, type SourceName, SOURCES } from './metrics';
import { usePages } from './usePages';
import { type Point, type Trouble, useHistory } from './useHistory';

export function Statistics() {
  const { series, troubles, errors } = useHistory();
  const hasPages = usePages();
  const isAbsent = troubles.gateway === 'absent';
  return (
    <>
      <header className="top">
        <a href={hasPages ? '/' : '/stats.html'} className="brand">
          <img src="/favicon.svg" alt="" width="28" height="28" />
          Rejoinder
        </a>
        {hasPages && (
          <nav aria-label="Tools">
            <a href="/graphql">GraphiQL</a>
            <a href="/stats.html" aria-current="page">
              Statistics
            </a>
          </nav>
        )}
      </header>
      <main className="statistics">
        <h1>Statistics</h1>
        <p className="lead">
          The last minutes, since you opened the page, from the metrics of the <a href="/metrics">gateway</a>,
          the <a href="/metrics/comments">comments</a> and the <a href="/metrics/posts">posts</a>.
        </p>
        <div className="trouble" role="status">
          {!isAbsent && troubles.gateway && <p>{wordsFor('gateway', troubles.gateway)}</p>}
          {isAbsent && <Elsewhere />}
        </div>
        {!isAbsent && (
          <>
            {SOURCE_NAMES.map((source) => (
              <Service key={source} source={source} series={series} trouble={troubles[source]} />
            ))}
            <Errors errors={errors} />
          </>
        )}
      </main>
      {hasPages && (
        <footer className="foot">
          <nav aria-label="Tools">
            <a href="/">Posts</a>
            <a href="/graphql">GraphiQL</a>
          </nav>
        </footer>
      )}
    </>
  );
}

/** Metrics are not for the public: outside development they are on a port of their own. */
function Elsewhere() {
  return (
    <>
      <p>There are no metrics at this address: they are for operators, not for everybody.</p>
      <ul>
        <li>
          If the gateway has a port for operators (<code>OPERATIONS_PORT</code>), this page is there, too:
          with docker compose, <a href="http://127.0.0.1:9000/stats.html">http://127.0.0.1:9000/stats.html</a>
          .
        </li>
        <li>
          Else set <code>OPERATIONS_PORT</code>, or <code>DEVELOPMENT=true</code> on your own machine.
        </li>
      </ul>
    </>
  );
}

function wordsFor(source: SourceName, trouble: Trouble): string {
  const { name, path } = SOURCES[source];
  return trouble === 'absent'
    ? `There is no ${path}: METRICS_PAGES of the gateway has to name the metrics of the ${name}.`
    : `The ${name}’s metrics cannot be read. Trying again.`;
}

interface ServiceProps {
  source: SourceName;
  series: Point[][][];
  trouble: Trouble | undefined;
}

function Service({ source, series, trouble }: ServiceProps) {
  return (
    <section aria-labelledby={source}>
      <h2 id={source}>{SOURCES[source].title}</h2>
      {source !== 'gateway' && (
        <p className="trouble" role="status">
          {trouble && wordsFor(source, trouble)}
        </p>
      )}
      {trouble !== 'absent' && (
        <div className="plots">
          {PLOTS.map((plot, index) =>
            plot.source === source ? (
              <PlotCard key={plot.title} plot={plot} series={series[index] ?? []} />
            ) : null,
          )}
        </div>
      )}
    </section>
  );
}

function PlotCard({ plot, series }: { plot: Plot; series: Point[][] }) {
  const { title, unit, nothing, explanation, lines, source } = plot;
  const now = lines.map(({ name }, index) => ({ name, value: series[index]?.at(-1) }));
  const shown = now
    .filter(({ value }) => value !== undefined)
    .map(({ name = '', value = 0 }) => `${name} ${withUnit(value, unit)}`.trim());
  // Numbers of before stand in the plot: then there were requests.
  const isEmpty = series.every((line) => line.every((point) => point === undefined));
  return (
    <section className="plot">
      <h3>{title}</h3>
      <p className="now" data-lines={lines.length}>
        {shown.length === 0 ? (
          <>
            –<small>{isEmpty ? nothing : nothing && 'no requests'}</small>
          </>
        ) : (
          now.map(({ name, value }, index) => (
            <span key={name ?? ''} data-line={index}>
              {name !== undefined && <small className="name">{name}</small>}
              {value === undefined ? '–' : withUnit(value, '')}
              <small>{unit}</small>
            </span>
          ))
        )}
      </p>
      <p className="explanation">{explanation}</p>
      <Chart
        lines={lines.map(({ name }, index) => ({
          ...(name !== undefined && { name }),
          points: series[index] ?? [],
        }))}
        unit={unit}
        label={`${SOURCES[source].title}: ${title} over the last minutes, now ${shown.join(', ') || nothing || 'not known'}`}
      />
    </section>
  );
}
