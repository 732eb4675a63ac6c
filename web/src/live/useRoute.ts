// The route of now, for components.

import { useSyncExternalStore } from 'react';

import { type Route, routeOf } from './route';

export function useRoute(): Route {
  return routeOf(useSyncExternalStore(listen, () => location.search));
}

function listen(changed: () => void): () => void {
  addEventListener('popstate', changed);
  return () => removeEventListener('popstate', changed);
}
