// The events of all subscriptions that run, whichever tab is open: a log, the newest first.

import { type GraphiQLPlugin, useGraphiQL } from '@graphiql/react';
import { useEffect, useRef, useSyncExternalStore } from 'react';

import { allRuns, forgetEnded, onRuns, type Run, stopRun } from './runs';

export const eventsTab: GraphiQLPlugin = { title: 'Live events', icon: EventsIcon, content: EventsTab };

const clock = new Intl.DateTimeFormat(undefined, { timeStyle: 'medium' });

/** The tab that is open, for what is started in it. */
const active = { index: 0, id: '', tabs: 0 };

export function activeTab(): string {
  return active.id;
}

/** Whether the reader has ended a subscription: what ends it for a change of the tab is none of the reader's doing. */
export async function endedByReader(): Promise<boolean> {
  const { id, tabs } = active;
  // GraphiQL ends it first, and changes the tab in the same turn.
  await new Promise((resolve) => setTimeout(resolve));
  return id === active.id || active.tabs < tabs;
}

interface TabsState {
  tabs: { id: string }[];
  activeTabIndex: number;
}

export function noteTabs({ tabs, activeTabIndex }: TabsState): void {
  active.index = activeTabIndex;
  active.id = tabs[activeTabIndex]?.id ?? '';
  active.tabs = tabs.length;
}

/** Brings what came meanwhile into the response pane of a tab that is opened again; opens the log at the first event. */
export function EventsBridge() {
  const runs = useSyncExternalStore(onRuns, allRuns);
  const tabs = useGraphiQL((state) => state.tabs);
  const activeTabIndex = useGraphiQL((state) => state.activeTabIndex);
  const responseEditor = useGraphiQL((state) => state.responseEditor);
  const visible = useGraphiQL((state) => state.visiblePlugin);
  const tab = tabs[activeTabIndex]?.id;
  useEffect(() => noteTabs({ tabs, activeTabIndex }), [tabs, activeTabIndex]);

  const newest = runs.find((run) => run.tab === tab && run.isRunning)?.events[0]?.result;
  useEffect(() => {
    if (newest !== undefined) responseEditor?.setValue(JSON.stringify(newest, null, 2));
  }, [newest, responseEditor]);

  const hasEvents = runs.some((run) => run.events.length > 0);
  const wasOpened = useRef(false);
  useEffect(() => {
    if (!hasEvents || wasOpened.current) return;
    wasOpened.current = true;
    // Below the editors there is no room for it.
    if (visible || !matchMedia('(min-width: 60rem)').matches) return;
    // Only its button opens the pane, too.
    document.querySelector<HTMLButtonElement>(`button[aria-label="Show ${eventsTab.title}"]`)?.click();
  }, [hasEvents, visible]);
  return null;
}

function EventsIcon() {
  return (
    <svg viewBox="0 0 16 16" fill="none" stroke="currentColor" strokeWidth="1.5" aria-hidden="true">
      <path d="M1 8h3l2-5 4 10 2-5h3" />
    </svg>
  );
}

function EventsTab() {
  const runs = useSyncExternalStore(onRuns, allRuns);
  return (
    <section className="plan" aria-label="Live events">
      <h2 className="plan-title">Live events</h2>
      {runs.length === 0 && (
        <p>Run a subscription: its events appear here, and go on while you work in another tab.</p>
      )}
      {runs.map((run) => (
        <RunLog key={run.number} run={run} />
      ))}
      {runs.some((run) => !run.isRunning) && (
        <button type="button" className="graphiql-button" onClick={forgetEnded}>
          Clear what has ended
        </button>
      )}
    </section>
  );
}

function RunLog({ run: { number, name, isRunning, events } }: { run: Run }) {
  return (
    <section className="run" aria-label={name}>
      <h3 className="run-title">
        {name} <small>{isRunning ? 'running' : 'ended'}</small>
        {isRunning && (
          <button type="button" className="graphiql-button" onClick={() => stopRun(number)}>
            Stop<span className="unseen"> {name}</span>
          </button>
        )}
      </h3>
      {events.length === 0 && <p>{isRunning ? 'No event yet.' : 'It had no events.'}</p>}
      <ol className="run-events" reversed>
        {events.map((event) => (
          <li key={event.number} value={event.number}>
            <time>{clock.format(event.at)}</time>
            <pre>{JSON.stringify(dataOf(event.result), null, 2)}</pre>
          </li>
        ))}
      </ol>
    </section>
  );
}

/** The data alone, where there is nothing else. */
function dataOf(result: unknown): unknown {
  if (typeof result !== 'object' || result === null || !('data' in result)) return result;
  return 'errors' in result ? result : result.data;
}
