// Where the focus goes when what had it leaves the page: without this it falls back to the page's top.

export function focusOn(element: Element | null | undefined): void {
  if (element instanceof HTMLElement) element.focus({ preventScroll: true });
}
