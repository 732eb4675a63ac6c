// Markdown as React elements.

import { createElement, Fragment, type ReactElement } from 'react';

import { draw } from './drawing';

export function drawMarkdown(text: string): ReactElement {
  const drawn = draw<ReactElement>(text, (tag, attributes, inner) =>
    createElement(tag, attributes, ...inner),
  );
  return createElement(Fragment, null, ...drawn);
}
