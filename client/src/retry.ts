// When the next try is made.

const FIRST_RETRY_MS = 500;
/** What is added to a time that a server asks for, so that its clients do not return all at once. */
const SPREAD_MS = 1_000;

/** Doubles from half a second, with jitter; never less than the server asks for. */
export function retryDelay(attempt: number, longestMs: number, askedMs = 0): number {
  const grown = Math.min(longestMs, FIRST_RETRY_MS * 2 ** Math.min(attempt, 16)) * (0.75 + Math.random() / 2);
  return askedMs > 0 ? Math.max(grown, askedMs + Math.random() * SPREAD_MS) : grown;
}

/**
 * Calls `run` after a time, or soon after the browser is online again if `isHasty`; the function that it returns
 * prevents that.
 */
export function callIn(ms: number, isHasty: boolean, run: () => void): () => void {
  let timer = setTimeout(done, ms);
  const hasten = () => {
    clearTimeout(timer);
    timer = setTimeout(done, Math.random() * FIRST_RETRY_MS);
  };
  // Not in Node.js.
  const target = isHasty && typeof addEventListener === 'function' ? globalThis : undefined;
  target?.addEventListener('online', hasten);
  const cancel = () => {
    clearTimeout(timer);
    target?.removeEventListener('online', hasten);
  };
  function done() {
    cancel();
    run();
  }
  return cancel;
}
