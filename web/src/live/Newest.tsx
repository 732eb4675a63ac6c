// From an older part of a list to its beginning.

import { focusOn } from './focus';
import { Link } from './Link';
import type { Route } from './route';

export function Newest({ of, to }: { of: 'posts' | 'comments'; to: Route }) {
  return (
    // The link leaves the page with the part that it stands in.
    <span onClick={() => focusOn(document.getElementById(`${of}-title`))}>
      <Link to={to} className="more">
        Newest {of}
      </Link>
    </span>
  );
}
