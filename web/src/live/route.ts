// Which part of the page is shown, kept in the address: `/`, `/?post=<id>`, `/?new`.

export type Route = { at: 'list' } | { at: 'post'; id: string } | { at: 'new' };

export function hrefOf(route: Route): string {
  switch (route.at) {
    case 'list':
      return '/';
    case 'new':
      return '/?new';
    case 'post':
      return `/?post=${encodeURIComponent(route.id)}`;
  }
}

export function navigate(route: Route): void {
  history.pushState(null, '', hrefOf(route));
  dispatchEvent(new PopStateEvent('popstate'));
}

/** What an address's query string shows. */
export function routeOf(search: string): Route {
  const parameters = new URLSearchParams(search);
  const id = parameters.get('post');
  if (id) return { at: 'post', id };
  return parameters.has('new') ? { at: 'new' } : { at: 'list' };
}
