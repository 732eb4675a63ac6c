// What the reader may do with a post or a comment: the one place that decides which buttons there are.

interface Rights {
  viewerCanEdit?: boolean;
  viewerCanDelete?: boolean;
}

/** A server that says nothing of it answers each try by itself. */
export function mayChange(item: object): { mayEdit: boolean; mayDelete: boolean } {
  const { viewerCanEdit = true, viewerCanDelete = true } = item as Rights;
  return { mayEdit: viewerCanEdit, mayDelete: viewerCanDelete };
}
