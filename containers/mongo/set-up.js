// Initiates the replica set on the first start, and sees to the two logins at every start: `admin`, for people, and
// `rejoinder`, for posts and comments. To run it again is harmless. Run by mongosh, in the container of MongoDB.

const fs = require('fs')

const password = (path) => fs.readFileSync(path, 'utf8').trim()
const admin = db.getSiblingDB('admin')

// The error of a wrong password, and of a user that does not exist yet.
const AUTHENTICATION_FAILED = 18
const ALREADY_INITIALIZED = 23

function logIn() {
  try {
    load('/rejoinder/log-in.js')
    return true
  } catch (error) {
    if (error.code === AUTHENTICATION_FAILED) return false
    throw error
  }
}

// As long as there is no user at all, MongoDB lets programs on its own machine do just this: the localhost exception.
// So a volume from before there were logins gets them, too.
function createAdmin() {
  try {
    rs.initiate({ _id: 'rejoinder', members: [{ _id: 0, host: 'mongo:27017' }] })
  } catch (error) {
    if (error.code !== ALREADY_INITIALIZED) throw error
  }
  waitForPrimary()
  admin.createUser({ user: 'admin', pwd: password('/data/db/admin-password'), roles: ['root'] })
  load('/rejoinder/log-in.js')
}

function waitForPrimary() {
  for (let tries = 0; !db.hello().isWritablePrimary; tries += 1) {
    if (tries === 50) throw new Error('the replica set has no primary yet')
    sleep(100)
  }
}

// What posts and comments do, and nothing else: they drop nothing, and see no other database. Both have the same rights,
// because a post has counts of its comments.
const role = {
  roles: [],
  privileges: [
    {
      resource: { db: 'rejoinder', collection: '' },
      actions: [
        'find',
        'insert',
        'update',
        'remove',
        'changeStream',
        'listCollections',
        'listIndexes',
        'createIndex',
        // To enable pre-images.
        'collMod',
        // To keep counts on posts that a validator of another program would refuse.
        'bypassDocumentValidation',
      ],
    },
    // To measure how much time of changes the oplog still has: the metric `changefeed_projection_oplog_seconds_left`.
    { resource: { db: 'local', collection: 'oplog.rs' }, actions: ['find'] },
  ],
}
const user = { pwd: password('/run/secrets/database/password'), roles: ['rejoinder'] }

if (!logIn()) createAdmin()
waitForPrimary()
if (admin.getRole('rejoinder')) admin.updateRole('rejoinder', role)
else admin.createRole({ role: 'rejoinder', ...role })
if (admin.getUser('rejoinder')) admin.updateUser('rejoinder', user)
else admin.createUser({ user: 'rejoinder', ...user })
