// A link within the page; with a modifier key it opens as any other link does.

import type { AnchorHTMLAttributes, MouseEvent } from 'react';

import { hrefOf, navigate, type Route } from './route';

interface LinkProps extends AnchorHTMLAttributes<HTMLAnchorElement> {
  to: Route;
}

export function Link({ to, ...rest }: LinkProps) {
  const follow = (event: MouseEvent) => {
    if (event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
    event.preventDefault();
    navigate(to);
  };
  return <a {...rest} href={hrefOf(to)} onClick={follow} />;
}
