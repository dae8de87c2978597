-- Returns a time as RQ writes it: 2026-11-24T10:43:05.120000Z. (Redis's Lua has no os.date.)
local function rq_time(seconds, microseconds)
    local days, of_day = math.floor(seconds / 86400), seconds % 86400
    -- Howard Hinnant's civil_from_days: the year begins in March, so that the leap day is its last.
    local z = days + 719468
    local era = math.floor(z / 146097)
    local day_of_era = z - era * 146097
    local year_of_era = math.floor((day_of_era - math.floor(day_of_era / 1460) + math.floor(day_of_era / 36524)
        - math.floor(day_of_era / 146096)) / 365)
    local day_of_year = day_of_era - (365 * year_of_era + math.floor(year_of_era / 4) - math.floor(year_of_era / 100))
    local month_from_march = math.floor((5 * day_of_year + 2) / 153)
    local day = day_of_year - math.floor((153 * month_from_march + 2) / 5) + 1
    local month = month_from_march < 10 and month_from_march + 3 or month_from_march - 9
    local year = year_of_era + era * 400 + (month <= 2 and 1 or 0)
    return string.format('%04d-%02d-%02dT%02d:%02d:%02d.%06dZ', year, month, day, math.floor(of_day / 3600),
        math.floor(of_day % 3600 / 60), of_day % 60, microseconds)
end
