// Something that is done after a while, and can be undone until then.

import { useCallback, useEffect, useRef, useState } from 'react';

import { onSession } from '../signIn/session';
import { UNDO_MS } from './undoTime';

/** What still waits is done when the page is left. */
const waiting = new Set<() => void>();
addEventListener('pagehide', () => waiting.forEach((act) => act()));

interface Undoable {
  /** `idle`, then `waiting` until it is done or undone; `failed` where it could not be done. */
  state: 'idle' | 'waiting' | 'acting' | 'failed';
  start: () => void;
  /** Does it at once. */
  act: () => void;
  undo: () => void;
}

/** `action` succeeds when what it is about is gone, whoever did it. */
export function useUndo(action: () => Promise<unknown>): Undoable {
  const [state, setState] = useState<Undoable['state']>('idle');
  const latest = useRef(action);
  useEffect(() => {
    latest.current = action;
  });
  const pending = useRef<{ act: () => void; cancel: () => void }>(undefined);

  const start = useCallback(() => {
    if (pending.current) return;
    const cancel = () => {
      clearTimeout(timer);
      waiting.delete(act);
      pending.current = undefined;
    };
    const act = () => {
      cancel();
      setState('acting');
      latest.current().catch(() => setState('failed'));
    };
    const timer = setTimeout(act, UNDO_MS);
    waiting.add(act);
    pending.current = { act, cancel };
    setState('waiting');
  }, []);
  // Nothing is done in the name of somebody else than who began it.
  useEffect(
    () =>
      onSession((change) => {
        if (change !== 'person' || !pending.current) return;
        pending.current.cancel();
        setState('idle');
      }),
    [],
  );
  // Where its view goes away, it is done.
  useEffect(() => () => pending.current?.act(), []);

  const undo = () => {
    pending.current?.cancel();
    setState('idle');
  };
  return { state, start, act: () => pending.current?.act(), undo };
}
