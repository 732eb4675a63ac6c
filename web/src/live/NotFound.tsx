// An address that shows nothing, in words, with a way on.

import { useEffect, useRef } from 'react';

import { Link } from './Link';
import { entitle } from './title';

/** `wasThere`: the reader has seen it, and it was deleted since. */
export function NotFound({ wasThere }: { wasThere: boolean }) {
  const heading = useRef<HTMLHeadingElement>(null);
  useEffect(() => {
    // Where the focus was is gone.
    if (document.activeElement === document.body) heading.current?.focus({ preventScroll: true });
    const untitle = entitle(wasThere ? 'Deleted' : 'Not found');
    // Without the page service every address is answered with the page: for search engines, this one is none.
    const robots =
      document.head.querySelector<HTMLMetaElement>("meta[name='robots']") ??
      document.head.appendChild(document.createElement('meta'));
    robots.name = 'robots';
    robots.content = 'noindex';
    return () => {
      robots.remove();
      untitle();
    };
  }, [wasThere]);

  return (
    <div className="not-found">
      <h1 ref={heading} tabIndex={-1}>
        {wasThere ? 'This post was deleted' : 'Not found'}
      </h1>
      <p>
        {wasThere
          ? 'Its comments are gone with it. '
          : 'There is nothing at this address. Perhaps it was deleted, or the address is not complete. '}
        <Link to={{ at: 'list' }}>See all posts.</Link>
      </p>
    </div>
  );
}
