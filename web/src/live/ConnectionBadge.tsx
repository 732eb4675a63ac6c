// Says whether changes arrive right now.

import { useSyncExternalStore } from 'react';

import { connection } from './graph/client';
import type { ConnectionState } from './graph/connection';

const WORDS: Record<ConnectionState, { label: string; meaning: string }> = {
  connecting: { label: 'Connecting', meaning: 'Opening the live connection' },
  live: { label: 'Live', meaning: 'Changes appear as they happen' },
  waiting: { label: 'Reconnecting', meaning: 'The connection is interrupted; what you miss will follow' },
  offline: { label: 'Offline', meaning: 'Your device is offline; what you miss will follow' },
};

export function ConnectionBadge() {
  const state = useSyncExternalStore(
    (changed) => connection.listen(changed),
    () => connection.state,
  );
  const { label, meaning } = WORDS[state];
  return (
    <p className="badge" role="status" data-state={state} title={meaning}>
      <span className="dot" aria-hidden="true" />
      {label}
    </p>
  );
}
