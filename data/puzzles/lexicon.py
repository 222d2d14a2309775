"""The words that the puzzles are written with. No two Chinese names share a character, to keep tokens clean."""

from __future__ import annotations

from data.puzzles.puzzle import Language

NAMES: dict[Language, tuple[str, ...]] = {
    "zh": ("李雷", "韩梅", "王芳", "赵刚", "陈静", "周明", "孙悦", "吴迪", "郑华", "冯涛", "钱多", "许晴"),
    "en": ("Ann", "Bob", "Cid", "Dora", "Eli", "Fay", "Gus", "Hana", "Ivan", "Jill", "Ken", "Lola"),
}

ITEMS: dict[Language, tuple[str, ...]] = {
    "zh": ("红球", "蓝伞", "绿书", "白帽", "黑包", "黄杯", "紫花", "银表"),
    "en": ("ball", "lamp", "book", "hat", "bag", "cup", "rose", "watch"),
}

PETS: dict[Language, tuple[str, ...]] = {
    "zh": ("猫", "狗", "鸟", "鱼", "兔", "龟", "马", "羊"),
    "en": ("cat", "dog", "bird", "fish", "hare", "frog", "horse", "sheep"),
}

EVENTS: dict[Language, tuple[str, ...]] = {
    "zh": ("考试", "会议", "演出", "比赛", "讲座", "聚餐", "旅行", "婚礼"),
    "en": ("exam", "meeting", "show", "match", "lecture", "dinner", "trip", "wedding"),
}

KINDS: dict[Language, tuple[str, ...]] = {
    "zh": ("乌格", "达斯", "费普", "戈尔", "林克", "莫塔", "佩鲁", "索恩", "提克", "瓦姆", "齐布", "诺亚"),
    "en": ("wug", "dax", "fep", "gorp", "lirk", "mott", "pell", "sorn", "tik", "vam", "zib", "nold"),
}

DAYS: dict[Language, tuple[str, ...]] = {
    "zh": ("星期一", "星期二", "星期三", "星期四", "星期五", "星期六", "星期日"),
    "en": ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"),
}

DIRECTIONS: dict[Language, tuple[str, ...]] = {
    "zh": ("北", "东", "南", "西"),
    "en": ("north", "east", "south", "west"),
}

TABLES = (NAMES, ITEMS, PETS, EVENTS, KINDS, DAYS, DIRECTIONS)
