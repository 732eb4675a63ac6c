// How much the page asks for at once.

/** Comments of a page. */
export const COMMENTS_PAGE = 20;
/** Posts of a page. */
export const POSTS_PAGE = 20;
/** The most that the server gives at once. */
export const LARGEST_PAGE = 100;
