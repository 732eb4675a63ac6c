// Logs in as the administrator of MongoDB. For people: `docker compose exec mongo mongosh --file /rejoinder/log-in.js
// --shell`. The password is in no command line, which every process on the machine could read.

db.getSiblingDB('admin').auth('admin', require('fs').readFileSync('/data/db/admin-password', 'utf8').trim())
