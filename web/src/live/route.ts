// Which part of the page is shown, kept in the address: `/`, `/new`, `/moderation`, `/posts/<id>`, `#comment-<id>`
// for a comment of the post, and `?order=` for the order of its comments.

export type Route =
  { at: 'list' } | { at: 'post'; id: string } | { at: 'new' } | { at: 'moderation' } | { at: 'nowhere' };

/** What the page keeps with an entry of the browser's history. */
interface Entry {
  /** The page opened the post by itself, beside the list. */
  byItself?: boolean;
}

const ID = /^[0-9a-f]{24}$/i;

export function hrefOf(route: Route): string {
  switch (route.at) {
    case 'list':
    case 'nowhere':
      return '/';
    case 'new':
      return '/new';
    case 'moderation':
      return '/moderation';
    case 'post':
      return `/posts/${route.id}`;
  }
}

/** A page with all of a post's text, whatever it weighs. */
export function hrefOfWhole(id: string): string {
  return `${hrefOf({ at: 'post', id })}?whole`;
}

/** Whether the address is that of such a page. */
export function readsOn(): boolean {
  return new URLSearchParams(location.search).has('whole');
}

export function navigate(route: Route): void {
  go(() => history.pushState(null, '', hrefOf(route)));
}

/** Goes on to a route that nobody chose: the way back does not lead here. */
export function redirect(route: Route): void {
  const entry: Entry = { byItself: true };
  go(() => history.replaceState(entry, '', hrefOf(route)));
}

/**
 * Changes the order of comments in the address; `null` is the first one. The reader stays at the post; the place that
 * is kept was one in the other order.
 */
export function orderBy(parameter: string | null): void {
  const search = parameter === null ? '' : `?order=${parameter}`;
  const entry: Entry | null = wentByItself() ? { byItself: true } : null;
  go(() => history.replaceState(entry, '', `${location.pathname}${search}`));
}

/** Leaves an older part of the comments for the newest, at the comment that the address points to. */
export function toNewest(): void {
  go(() => history.replaceState(null, '', `${location.pathname}${location.hash}`));
}

/** Whether the page went here by itself. */
export function wentByItself(): boolean {
  return (history.state as Entry | null)?.byItself === true;
}

/** What an address shows. */
export function routeOf({ pathname, search }: { pathname: string; search: string }): Route {
  if (pathname === '/') return formerRouteOf(new URLSearchParams(search));
  if (pathname === '/new') return { at: 'new' };
  if (pathname === '/moderation') return { at: 'moderation' };
  const id = /^\/posts\/([^/]+)\/?$/.exec(pathname)?.[1];
  return id !== undefined && ID.test(id) ? { at: 'post', id: id.toLowerCase() } : { at: 'nowhere' };
}

/** The addresses of before, `/?post=<id>` and `/?new`, still lead where they did. */
function formerRouteOf(parameters: URLSearchParams): Route {
  const id = parameters.get('post');
  if (id !== null) return ID.test(id) ? { at: 'post', id: id.toLowerCase() } : { at: 'nowhere' };
  return parameters.has('new') ? { at: 'new' } : { at: 'list' };
}

/** The comment that an address points to, by its id. */
export function commentOf(hash: string): string | undefined {
  const id = /^#comment-(.+)$/.exec(hash)?.[1];
  return id !== undefined && ID.test(id) ? id.toLowerCase() : undefined;
}

/** What the page service says about the address that it has rendered, and of no other: links to share, and feeds. */
const ABOUT_ADDRESS =
  "link[rel='canonical'], link[rel='alternate'][href*='/posts/'], meta[property], meta[name^='twitter:'], meta[name='robots']";

function go(change: () => void): void {
  change();
  document.head.querySelectorAll(ABOUT_ADDRESS).forEach((each) => each.remove());
  dispatchEvent(new PopStateEvent('popstate'));
}
